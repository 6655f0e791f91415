-- Idempotency keys that are bound, with the created event they replay. Read only, under the companies' locks.
SELECT k.company_id, k.key, k.fingerprint, k.passport_id,
       round(extract(epoch FROM k.created_at) * 1000)::bigint AS created_ms, p.created_body
  FROM unnest($1::text[], $2::text[]) AS asked (company_id, key)
  JOIN idempotency_key k ON k.company_id = asked.company_id AND k.key = asked.key
  JOIN passport p ON p.id = k.passport_id
