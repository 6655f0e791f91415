-- Lets one process migrate at a time. Ends with the transaction. A second process asks again, and does not wait: a
-- session that waits has a snapshot, and CREATE INDEX CONCURRENTLY would wait for its end.
SELECT pg_try_advisory_xact_lock(hashtextextended('passport-worker migrate', 0))
