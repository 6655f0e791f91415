-- The number of answers of each code that a group ($1) gave in each of the last $2 minutes, including the current one.
-- Read only, by primary key.
SELECT a.minute, said.key AS code, sum(said.value::bigint)::bigint AS count
  FROM activity a
 CROSS JOIN LATERAL jsonb_each_text(a.counts -> 'outcomes') AS said
 WHERE a.group_id = $1 AND a.minute > date_trunc('minute', now()) - $2::int * interval '1 minute'
 GROUP BY 1, 2
