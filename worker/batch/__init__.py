"""The line of a turn: commands are decided in one Postgres transaction, and failures are narrowed down to a record."""
