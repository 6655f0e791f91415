-- What one company ($1; null: all) has used of its plan on a UTC day ($3) and in its month, nearest to a limit first;
-- closed companies come last, since their plans stay full for good.
-- Only companies that have used at least a share ($2; null: any) of their slots or of the day's writes; at most $4
-- (null: all). $5: only companies with refused commands on the day, most refused first. Read only; uses indexes for the
-- large tables, the day's writes and the month's charges.
SELECT used.id, used.name, used.plan_id, used.slots_used, used.max_dpps, used.slots_share, used.writes,
       used.max_v1_writes_per_day, used.writes_share, charged.charges, charged.cents,
       used.answered, used.refused, used.closed_at
  FROM (
      SELECT c.id, c.number, c.name, c.plan_id, c.closed_at, coalesce(u.slots_used, 0) AS slots_used, p.max_dpps,
             CASE WHEN p.max_dpps = 0 THEN 1
                  ELSE coalesce(u.slots_used, 0)::float8 / p.max_dpps END AS slots_share,
             coalesce(w.writes, 0) AS writes, p.max_v1_writes_per_day,
             CASE WHEN p.max_v1_writes_per_day = 0 THEN 1
                  ELSE coalesce(w.writes, 0)::float8 / p.max_v1_writes_per_day END AS writes_share,
             coalesce(d.answered, 0) AS answered, coalesce(d.refused, 0) AS refused
        FROM company c
        JOIN plan p ON p.id = c.plan_id
        LEFT JOIN company_usage u ON u.company_number = c.number
        LEFT JOIN daily_writes w ON w.company_number = c.number AND w.day = $3::date
        LEFT JOIN (SELECT company_id, sum(answered)::bigint AS answered, sum(refused)::bigint AS refused
                     FROM company_day
                    WHERE day = $3::date AND ($1::text IS NULL OR company_id = $1)
                    GROUP BY company_id) AS d ON d.company_id = c.id
       WHERE $1::text IS NULL OR c.id = $1
  ) AS used
  LEFT JOIN LATERAL (
      SELECT count(*) AS charges, coalesce(sum(o.price_cents), 0)::bigint AS cents
        FROM overage_charge o
       WHERE o.company_number = used.number
         AND o.charged_at >= date_trunc('month', $3::date::timestamp) AT TIME ZONE 'UTC'
         AND o.charged_at < (date_trunc('month', $3::date::timestamp) + interval '1 month') AT TIME ZONE 'UTC'
  ) AS charged ON true
 WHERE ($2::float8 IS NULL OR greatest(used.slots_share, used.writes_share) >= $2)
   AND (used.refused > 0 OR NOT $5)
 ORDER BY CASE WHEN $5 THEN used.refused END DESC, coalesce(used.closed_at <= now(), false),
          greatest(used.slots_share, used.writes_share) DESC NULLS LAST, used.id
 LIMIT $4::int
