-- Public signing keys of a company ($1). Read only; there is no index on the company, so this reads the table.
SELECT jwk::text AS jwk, label, not_before, revoked_at FROM signing_key WHERE company_id = $1 ORDER BY label, kid
