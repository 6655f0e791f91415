-- Plans as they are stored: the named ones ($1; null: all), of one company ($2; null: all). Read only.
SELECT id, max_dpps, overage_price_cents, max_v1_writes_per_day
  FROM plan
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id = (SELECT plan_id FROM company WHERE id = $2))
 ORDER BY id
