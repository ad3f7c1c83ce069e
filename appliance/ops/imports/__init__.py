"""Readers of what other ACME clients keep: each turns a folder into what ``found`` describes, and changes nothing."""
