"""Somebody is told when a certificate is in danger: when, of what, and in which way."""
