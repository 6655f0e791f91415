"""`topics create`: creates the topics, or compares them with what a worker needs."""
