-- One migration at a time, whoever starts it. Released with the transaction, however it ends.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker migrate', 0))
