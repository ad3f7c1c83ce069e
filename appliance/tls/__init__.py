"""TLS: certificates, contexts, the SNI map, and TLS on the socket."""
