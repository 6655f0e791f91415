-- The company of a signing key, by its id. Read only, by primary key.
SELECT company_id, label FROM signing_key WHERE kid = $1
