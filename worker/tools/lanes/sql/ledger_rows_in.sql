-- The number of ledger rows of a lane from offset $2 to below $3, and the first of them. Read only.
SELECT count(*) AS rows, min("offset") AS first FROM ledger WHERE lane_id = $1 AND "offset" >= $2 AND "offset" < $3
