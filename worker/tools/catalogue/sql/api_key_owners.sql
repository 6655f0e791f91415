-- The companies of API keys that exist already. Read only.
SELECT sha256, company_id FROM api_key WHERE sha256 = ANY ($1::bytea[])
