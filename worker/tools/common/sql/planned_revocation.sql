-- An API key as revoke_api_key would leave it, with the same arguments. Read only.
SELECT sha256, company_id, label, planned.revoked_at, planned.revoked_at <= now() AS is_revoked
  FROM api_key,
       LATERAL (SELECT least(api_key.revoked_at, coalesce($2::timestamptz, date_trunc('milliseconds', now()))
                                                 + $3::interval) AS revoked_at) AS planned
 WHERE sha256 = $1
