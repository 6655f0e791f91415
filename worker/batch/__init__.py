"""Batches on their way: a turn's commands are decided over the store, and what fails is narrowed down to its record."""
