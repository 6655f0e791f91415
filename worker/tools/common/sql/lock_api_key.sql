-- Locks an API key for the rest of a transaction, and returns it as others have left it. Safe: changes nothing.
SELECT sha256, company_id, label, revoked_at, coalesce(revoked_at <= now(), false) AS is_revoked
  FROM api_key
 WHERE sha256 = $1
   FOR UPDATE
