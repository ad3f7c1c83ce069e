"""What becomes of a new certificate beyond the listeners: a look at the wire, copies, hooks."""
