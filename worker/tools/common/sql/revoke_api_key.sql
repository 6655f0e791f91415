-- Revokes an API key from a time on ($2; null: now), plus $3, and returns the row. Safe: never gives a key more
-- time than it has. Now is a whole millisecond, as append times are.
UPDATE api_key
   SET revoked_at = least(revoked_at, coalesce($2::timestamptz, date_trunc('milliseconds', now())) + $3::interval)
 WHERE sha256 = $1
RETURNING sha256, company_id, label, revoked_at, revoked_at <= now() AS is_revoked
