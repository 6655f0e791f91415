-- API keys of one company ($1; null: of all), with their state. Read only; there is no index on the company, so this
-- reads the table.
SELECT sha256, company_id, label, revoked_at, coalesce(revoked_at <= now(), false) AS is_revoked
  FROM api_key
 WHERE $1::text IS NULL OR company_id = $1
 ORDER BY company_id, label, sha256
