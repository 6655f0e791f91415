-- Companies as they are stored: the named ones ($1; null: all), or one of them ($2; null: all). Read only.
SELECT id AS row_id, NULL AS row_company, id AS _id, name, plan_id AS plan, subscription, prefill::text AS prefill,
       channels, signatures_required_from AS "signaturesRequiredFrom", closed_at AS "closedAt"
  FROM company
 WHERE ($1::text[] IS NULL OR id = ANY ($1))
   AND ($2::text IS NULL OR id = $2)
 ORDER BY id
