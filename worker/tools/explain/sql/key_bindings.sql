-- To what an idempotency key is bound or was bound, the latest first; its days go with the retention. Read only, by primary
-- key.
SELECT encode(passport_id, 'hex'), round(extract(epoch FROM created_at) * 1000)::bigint AS created_ms
  FROM idempotency_key
 WHERE id = $1
 ORDER BY created_at DESC
