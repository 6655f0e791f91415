-- At most $2 idempotency keys bound more than $1 days ago. Safe: a key that a batch binds anew at this moment is
-- skipped, and no lock is waited for.
DELETE FROM idempotency_key
 WHERE ctid = ANY (ARRAY(SELECT ctid
                           FROM idempotency_key
                          WHERE recorded_at < now() - make_interval(days => $1)
                          LIMIT $2
                            FOR UPDATE SKIP LOCKED))
