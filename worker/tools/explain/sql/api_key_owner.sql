-- The company of an API key, by its hash. Read only, by primary key; readers may not see hashes.
SELECT company_id, label FROM api_key WHERE sha256 = $1
