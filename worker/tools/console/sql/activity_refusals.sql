-- The companies that a group ($1) refused most in the last $2 minutes, by code, at most $3. A null company has the
-- refusals of unknown companies, and those beyond the limit of a minute. Read only, by primary key.
SELECT found.company_id AS company, c.name, found.code, found.count
  FROM (
      SELECT said -> 0 #>> '{}' AS company_id, said ->> 1 AS code, sum((said ->> 2)::bigint)::bigint AS count
        FROM activity a
       CROSS JOIN LATERAL jsonb_array_elements(a.counts -> 'refusals') AS said
       WHERE a.group_id = $1 AND a.minute > date_trunc('minute', now()) - $2::int * interval '1 minute'
       GROUP BY 1, 2
       ORDER BY 3 DESC, 1, 2
       LIMIT $3
  ) AS found
  LEFT JOIN company c ON c.id = found.company_id
 ORDER BY found.count DESC, found.company_id, found.code
