-- Plans as they are stored: the named ones ($1; null: all), of one company ($2; null: all). Read only.
SELECT id AS row_id, NULL AS row_company, id, max_dpps AS "maxDpps", overage_price_cents AS "overagePriceCents",
       max_v1_writes_per_day AS "maxV1WritesPerDay"
  FROM plan
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id = (SELECT plan_id FROM company WHERE id = $2))
 ORDER BY id
