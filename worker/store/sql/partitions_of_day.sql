-- The partitions of one day that exist. Read only, under the lock on days: nobody drops or makes one.
SELECT child.relname::text AS name
  FROM pg_inherits i
  JOIN pg_class child ON child.oid = i.inhrelid
 WHERE i.inhparent IN ('idempotency_key'::regclass, 'ledger'::regclass, 'dead_letter'::regclass)
   AND right(child.relname, 8) = to_char($1::date, 'YYYYMMDD')
 ORDER BY name
