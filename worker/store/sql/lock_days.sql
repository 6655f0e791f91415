-- Lets one process at a time make partitions. Ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker days', 0))
