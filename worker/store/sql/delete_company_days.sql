-- Deletes at most $2 counts of days that ended more than $1 days ago, by the database's clock and by a worker's clock,
-- whose day is $3.
DELETE FROM company_day
 WHERE ctid = ANY (ARRAY(SELECT ctid
                           FROM company_day
                          WHERE day < least((now() AT TIME ZONE 'UTC')::date, $3::date) - $1::int
                          LIMIT $2))
