-- Grants of API keys by hash. Read only; a change holds for all records that come after it.
-- Rounded up: a record is before the revocation in any fraction of its millisecond.
SELECT sha256, company_id, ceil(extract(epoch FROM revoked_at) * 1000)::bigint AS revoked_ms
  FROM api_key
 WHERE sha256 = ANY ($1::bytea[])
