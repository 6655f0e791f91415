-- Frees the lock of try_lock_migrations_in_session.
SELECT pg_advisory_unlock(hashtextextended('passport-worker migrate', 0))
