-- API keys as they are stored: those of these hashes ($1; null: all), of one company ($2; null: all), in the order of
-- `stored_companies`. Read only; there is no index on the company, so this reads the table.
SELECT encode(sha256, 'hex') AS row_id, company_id AS row_company,
       encode(sha256, 'hex') AS sha256, label, revoked_at AS "revokedAt"
  FROM api_key
 WHERE ($1::bytea[] IS NULL OR sha256 = ANY ($1))
   AND ($2::text IS NULL OR company_id = $2)
 ORDER BY company_id, label, api_key.sha256
