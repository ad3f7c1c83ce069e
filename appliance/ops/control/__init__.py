"""The UNIX socket between the service and its commands: both ends."""
