"""`migrate`: creates or updates the database schema."""
