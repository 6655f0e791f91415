-- Deletes at most $2 daily counts that were last raised more than $1 days ago, by the database's clock and by a
-- worker's clock, whose day is $3. Safe: skips a count that a batch raises at this moment, and waits for no lock.
DELETE FROM daily_writes
 WHERE ctid = ANY (ARRAY(SELECT ctid
                           FROM daily_writes
                          WHERE recorded_on < least((now() AT TIME ZONE 'UTC')::date, $3::date) - $1::int
                          LIMIT $2
                            FOR UPDATE SKIP LOCKED))
