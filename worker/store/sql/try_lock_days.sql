-- Whether no other process makes or drops partitions. A second one has nothing left to drop. Ends with the transaction.
SELECT pg_try_advisory_xact_lock(hashtextextended('passport-worker days', 0))
