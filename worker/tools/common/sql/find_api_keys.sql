-- At most $3 API keys whose hashes lie between two, with their state. Read only, by index.
SELECT sha256, company_id, label, revoked_at, coalesce(revoked_at <= now(), false) AS is_revoked
  FROM api_key
 WHERE sha256 BETWEEN $1 AND $2
 ORDER BY sha256
 LIMIT $3
