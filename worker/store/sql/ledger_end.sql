-- The beginning of the first day, from today on, for which keys, the ledger or dead letters have no partition, in Unix
-- seconds. Looks a month ahead, by the database's clock. Read only.
SELECT extract(epoch FROM min(day) AT TIME ZONE 'UTC')::float8
  FROM (SELECT ahead, (now() AT TIME ZONE 'UTC')::date::timestamp + ahead * interval '1 day' AS day
          FROM generate_series(0, 31) AS ahead) AS days,
       unnest(ARRAY['idempotency_key', 'ledger', 'dead_letter']) AS parent
 WHERE ahead = 31
    OR NOT EXISTS (SELECT
                     FROM pg_inherits i
                     JOIN pg_class child ON child.oid = i.inhrelid
                    WHERE i.inhparent = parent::regclass AND child.relname = parent || to_char(day, '"_"YYYYMMDD'))
