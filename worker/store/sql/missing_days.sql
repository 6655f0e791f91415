-- Daily partitions that do not exist yet, from yesterday on: a batch that began before midnight is still to come.
-- Read only; by the database's clock, which is also the one that dates the rows. Read from the tables, not with
-- to_regclass: after a wait for the lock on days its cache may not know what was made meanwhile.
SELECT parent, day
  FROM (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(-1, $1::int) AS ahead) AS days,
       unnest(ARRAY['idempotency_key', 'ledger', 'dead_letter']) WITH ORDINALITY AS parents (parent, place)
 WHERE NOT EXISTS (SELECT
                     FROM pg_inherits i
                     JOIN pg_class child ON child.oid = i.inhrelid
                    WHERE i.inhparent = parent::regclass AND child.relname = parent || to_char(day, '"_"YYYYMMDD'))
 ORDER BY day, place
