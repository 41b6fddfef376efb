"""What each command of the command line reads, does and prints. Only training again imports torch."""
