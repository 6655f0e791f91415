-- Offsets of a lane from $2 to below $3 at which a company ($4) was answered under a key ($5), the last first, at most
-- $6. Read only; there is no index on keys, so this reads all of these rows.
SELECT "offset", round(extract(epoch FROM appended_at) * 1000)::bigint AS appended_ms
  FROM ledger
 WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3 AND company_id = $4 AND key = $5
 ORDER BY "offset" DESC
 LIMIT $6
