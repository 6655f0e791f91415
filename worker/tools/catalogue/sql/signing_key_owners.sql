-- The companies of signing keys, by their ids. Read only, by primary key.
SELECT kid, company_id FROM signing_key WHERE kid = ANY ($1::text[])
