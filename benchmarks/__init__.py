"""headwatch side by side with what its users would pick instead, and with the arithmetic that the task needs."""
