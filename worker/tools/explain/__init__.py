"""`explain`: what became of a command, and why."""
