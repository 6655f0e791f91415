-- The lock of try_lock_migrations, for a migration outside of a transaction. Ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('passport-worker migrate', 0))
