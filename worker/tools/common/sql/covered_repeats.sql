-- Ranges of a command topic whose results were repeated by an operator or after a set-back. Each allows one more copy.
-- Read only.
SELECT (covered ->> 0)::int AS partition, (covered ->> 1)::bigint AS start, (covered ->> 2)::bigint AS stop
  FROM operation, jsonb_array_elements(arguments -> 'repeats') AS covered
 WHERE arguments ->> 'topic' = $1
