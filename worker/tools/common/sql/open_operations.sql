-- Operations that began more than $1 seconds ago and have not ended, oldest first. Read only; the table is small, with
-- a row for each command of an operator.
SELECT id, verb, who, begun_at
  FROM operation
 WHERE ended_at IS NULL AND begun_at < now() - $1::float8 * interval '1 second'
 ORDER BY begun_at
