"""The ``appliance`` command: a module for each subcommand, or for a few of one kind."""
