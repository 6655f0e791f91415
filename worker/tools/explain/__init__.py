"""`explain`: tells what became of a command, an idempotency key or a passport."""
