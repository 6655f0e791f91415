"""A turn's Postgres part: commands are decided in one transaction, and failures are narrowed down to a record."""
