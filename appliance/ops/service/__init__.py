"""What operators have the running service do, whoever asks: a command, a button, a signal."""
