-- Daily partitions that do not exist yet, from yesterday on: a batch that began before midnight may still come. Read
-- only. The database's clock decides, since it dates the rows. The query reads the catalogue and does not use
-- to_regclass, whose cache may miss partitions that were made during the wait for the lock on days.
SELECT parent, day
  FROM (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(-1, $1::int) AS ahead) AS days,
       unnest(ARRAY['idempotency_key', 'ledger', 'dead_letter']) WITH ORDINALITY AS parents (parent, place)
 WHERE NOT EXISTS (SELECT
                     FROM pg_inherits i
                     JOIN pg_class child ON child.oid = i.inhrelid
                    WHERE i.inhparent = parent::regclass AND child.relname = parent || to_char(day, '"_"YYYYMMDD'))
 ORDER BY day, place
