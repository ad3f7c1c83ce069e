"""DNS-01 (RFC 8555 section 8.4): records published by whoever runs the zone, and looked for before the CA does."""
