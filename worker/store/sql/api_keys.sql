-- API keys by hash, with their companies and plans. Times are rounded up: a record is before the revocation in any
-- fraction of its millisecond. Read only; a change holds for all later records.
SELECT k.sha256, ceil(extract(epoch FROM k.revoked_at) * 1000)::bigint AS revoked_ms, c.id, c.number, c.subscription,
       ceil(extract(epoch FROM c.signatures_required_from) * 1000)::bigint AS required_ms,
       c.channels, ceil(extract(epoch FROM c.closed_at) * 1000)::bigint AS closed_ms,
       p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day
  FROM api_key k
  JOIN company c ON c.id = k.company_id
  JOIN plan p ON p.id = c.plan_id
 WHERE k.sha256 = ANY ($1::bytea[])
