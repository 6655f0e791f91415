-- The rows of a table with its partitions, as Postgres estimates them; 0 if the table does not exist yet. Read only.
SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint
  FROM pg_class
 WHERE relkind = 'r'
   AND (oid = to_regclass($1) OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1)))
