-- The partitions of one day that exist. Read only, under the lock on days: nobody else drops or makes one.
SELECT name
  FROM unnest(ARRAY['ledger', 'dead_letter']) AS parent, concat(parent, to_char($1::date, '"_"YYYYMMDD')) AS name
 WHERE to_regclass(name) IS NOT NULL
