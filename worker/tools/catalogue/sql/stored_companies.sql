-- Companies as they are stored: the named ones ($1; null: all), or one of them ($2; null: all). Read only.
SELECT id, name, plan_id, subscription, prefill::text AS prefill, signatures_required_from, channels, closed_at
  FROM company
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id = $2)
 ORDER BY id
