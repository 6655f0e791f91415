-- Lets one catalogue load run at a time, so that its checks stay true until its commit. Workers do not take this lock.
-- Ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker catalogue', 0))
