"""`dead-letters`: lists and shows commands that could not be read or processed, and publishes them again."""
