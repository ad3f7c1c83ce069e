"""The service's own log: as text, as JSON lines, in the journal."""
