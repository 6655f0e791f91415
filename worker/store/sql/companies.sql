-- Companies with their plans, as in `api_keys`. Read only.
SELECT c.id, c.number, c.subscription, ceil(extract(epoch FROM c.signatures_required_from) * 1000)::bigint AS required_ms,
       c.channels, ceil(extract(epoch FROM c.closed_at) * 1000)::bigint AS closed_ms,
       p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day
  FROM company c
  JOIN plan p ON p.id = c.plan_id
 WHERE c.id = ANY ($1::text[])
