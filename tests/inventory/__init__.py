"""The data inventory: each table, column and topic, and the personal data that may be in it."""
