-- Whether nobody else makes or drops partitions: who comes second need not drop them again. Ends with the transaction.
SELECT pg_try_advisory_xact_lock(hashtextextended('passport-worker days', 0))
