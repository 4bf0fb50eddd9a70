"""What limits the goals that are missed, from profiles of the processes."""
LIMITS = {}
