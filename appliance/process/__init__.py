"""The life of the process: what it inherits, how it is replaced by another, how it ends."""
