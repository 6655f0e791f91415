-- Daily partitions that do not exist yet, from yesterday on: a batch that began before midnight is still to come.
-- Read only; by the database's clock, which is also the one that dates the rows.
SELECT parent, day, day + 1 AS next_day
  FROM (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(-1, $1::int) AS ahead) AS days,
       unnest(ARRAY['ledger', 'dead_letter']) AS parent
 WHERE to_regclass(parent || to_char(day, '"_"YYYYMMDD')) IS NULL
 ORDER BY day, parent DESC
