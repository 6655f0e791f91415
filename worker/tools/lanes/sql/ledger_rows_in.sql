-- Offsets of a lane from $2 to below $3 that the ledger has: how many, and the first of them. Read only.
SELECT count(*) AS rows, min("offset") AS first FROM ledger WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3
