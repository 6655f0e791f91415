-- Ranges of a command topic whose results were repeated, and may be there once more for each. Read only.
SELECT (covered ->> 0)::int AS partition, (covered ->> 1)::bigint AS start, (covered ->> 2)::bigint AS stop
  FROM operation, jsonb_array_elements(arguments -> 'repeats') AS covered
 WHERE arguments ->> 'topic' = $1
