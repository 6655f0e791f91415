-- What operators began and nobody has ended, longer ago than $1 seconds, oldest first. Read only; a row is an operator's
-- command, so that there are few.
SELECT id, verb, who, begun_at
  FROM operation
 WHERE ended_at IS NULL AND begun_at < now() - $1::float8 * interval '1 second'
 ORDER BY begun_at
