"""The access log: lines out of requests, and the file they go to."""
