-- The companies that a group ($1) refused in the last hour, most refused first, at most $2: their refused commands, those
-- that the group answered to all companies, and whether none of the company's was accepted. Read only, by primary keys;
-- the last hour has at most 60 rows per worker.
WITH hour AS MATERIALIZED (
    SELECT counts FROM activity WHERE group_id = $1 AND minute > now() - interval '1 hour'
), refused AS (
    SELECT said ->> 0 AS company_id, sum((said ->> 2)::bigint)::bigint AS refused
      FROM hour
     CROSS JOIN LATERAL jsonb_array_elements(counts -> 'refusals') AS said
     WHERE said ->> 0 IS NOT NULL
     GROUP BY 1
     ORDER BY 2 DESC, 1
     LIMIT $2
)
SELECT r.company_id, r.refused,
       (SELECT sum(said.value::bigint)::bigint
          FROM hour
         CROSS JOIN LATERAL jsonb_each_text(counts -> 'outcomes') AS said) AS answered,
       NOT EXISTS (SELECT FROM company_day d
                    WHERE d.day = ANY (days.near) AND d.company_id = r.company_id AND d.group_id = $1
                      AND d.accepted_at > now() - interval '1 hour') AS is_entirely
  FROM refused r,
       (SELECT array_agg((now() AT TIME ZONE 'UTC')::date + ahead) AS near FROM generate_series(-1, 1) AS ahead) AS days
 ORDER BY r.refused DESC, r.company_id
