-- Lets this transaction see the sessions of now: it would see those of its first look again. Read only.
SELECT pg_stat_clear_snapshot()
