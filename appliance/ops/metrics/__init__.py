"""What is counted, and how it is made into metrics and rates."""
