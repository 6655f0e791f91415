-- One maker of partitions at a time. Released with the transaction, however it ends.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker days', 0))
