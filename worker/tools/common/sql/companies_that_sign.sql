-- How many companies have a signing key that is valid now, or will be. Read only.
SELECT count(DISTINCT company_id) FROM signing_key WHERE coalesce(revoked_at > now(), true)
