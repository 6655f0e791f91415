-- Closes a company ($1) from now on and revokes its keys, and returns when, and how many keys. Safe to repeat: neither an
-- earlier closing nor an earlier revocation moves. Locks the company before its keys, as `catalogue load` does. Now is a
-- whole millisecond, as append times are.
WITH closed AS (
    UPDATE company SET closed_at = least(closed_at, date_trunc('milliseconds', now())) WHERE id = $1 RETURNING closed_at
), api_keys AS (
    UPDATE api_key k SET revoked_at = closed.closed_at FROM closed
     WHERE k.company_id = $1 AND coalesce(k.revoked_at > closed.closed_at, true)
    RETURNING k.sha256
), signing_keys AS (
    UPDATE signing_key k SET revoked_at = closed.closed_at FROM closed
     WHERE k.company_id = $1 AND coalesce(k.revoked_at > closed.closed_at, true)
    RETURNING k.kid
)
SELECT closed_at, (SELECT count(*) FROM api_keys) AS api_keys, (SELECT count(*) FROM signing_keys) AS signing_keys
  FROM closed
