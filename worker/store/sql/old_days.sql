-- Days with a partition that ended at least $1 days ago, by the database's clock and by a worker's clock, whose day is
-- $2, oldest first. Read only.
SELECT DISTINCT to_date(right(child.relname, 8), 'YYYYMMDD') AS day
  FROM pg_inherits i
  JOIN pg_class child ON child.oid = i.inhrelid
 WHERE i.inhparent IN ('idempotency_key'::regclass, 'ledger'::regclass, 'dead_letter'::regclass)
   AND right(child.relname, 8) < to_char(least((now() AT TIME ZONE 'UTC')::date, $2::date) - $1::int, 'YYYYMMDD')
 ORDER BY day
