-- One catalogue load at a time: what it was checked against stays true until its commit. Workers do not take this
-- lock. Released with the transaction, however it ends.
SELECT pg_advisory_xact_lock(hashtextextended('passport-worker catalogue', 0))
