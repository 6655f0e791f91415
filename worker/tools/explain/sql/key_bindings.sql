-- The bindings of an idempotency key, the latest first, as far as the retention keeps its days. Read only, by primary
-- key.
SELECT encode(passport_id, 'hex'), round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM idempotency_key
 WHERE id = $1
 ORDER BY created_at DESC
