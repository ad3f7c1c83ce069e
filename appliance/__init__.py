"""TLS for several domains, a proxy to their applications, and every certificate renewed, in one Twisted reactor."""

__version__ = "0.1.0"
