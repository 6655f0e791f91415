-- Lets this transaction see the present sessions. Without it, every look returns those of the first one. Read only.
SELECT pg_stat_clear_snapshot()
