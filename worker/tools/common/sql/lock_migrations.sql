-- Lets one process migrate at a time. Ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker migrate', 0))
