-- Idempotency keys that are bound, with the created event they replay. Read only, under the companies' locks.
SELECT k.id, k.fingerprint, k.passport_id, round(extract(epoch FROM k.created_at) * 1000)::bigint AS created_ms,
       p.created_body
  FROM idempotency_key k
  JOIN passport p ON p.id = k.passport_id
 WHERE k.id = ANY ($1::bytea[])
