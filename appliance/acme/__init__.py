"""ACME: certificates from CAs (RFC 8555), when to get them, and what is remembered of it."""
