-- Signing keys as they are stored: those of these ids ($1; null: all), of one company ($2; null: all), in the order of
-- `stored_companies`. Read only; there is no index on the company, so this reads the table.
SELECT kid AS row_id, company_id AS row_company,
       jwk::text AS jwk, label, not_before AS "notBefore", revoked_at AS "revokedAt"
  FROM signing_key
 WHERE ($1::text[] IS NULL OR kid = ANY ($1))
   AND ($2::text IS NULL OR company_id = $2)
 ORDER BY company_id, label, kid
