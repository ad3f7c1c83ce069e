"""What operators hold in their hands: commands, the status page, logs, metrics, alarms."""
