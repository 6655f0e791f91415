-- Public keys of signed commands by id, with their companies and plans as in `api_keys`. Times are rounded up, which is
-- exact for whole milliseconds. Read only; a change holds for all later records.
SELECT k.kid, k.jwk::text AS jwk, ceil(extract(epoch FROM k.not_before) * 1000)::bigint AS not_before_ms,
       ceil(extract(epoch FROM k.revoked_at) * 1000)::bigint AS revoked_ms, c.id, c.number, c.subscription,
       ceil(extract(epoch FROM c.signatures_required_from) * 1000)::bigint AS required_ms,
       c.channels, ceil(extract(epoch FROM c.closed_at) * 1000)::bigint AS closed_ms,
       p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day
  FROM signing_key k
  JOIN company c ON c.id = k.company_id
  JOIN plan p ON p.id = c.plan_id
 WHERE k.kid = ANY ($1::text[])
