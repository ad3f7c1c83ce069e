"""What operators hold in their hands: commands, logs."""
