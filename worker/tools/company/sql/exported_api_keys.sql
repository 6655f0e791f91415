-- API keys of a company ($1), without their hashes. Read only; there is no index on the company, so this reads the table.
SELECT label, revoked_at FROM api_key WHERE company_id = $1 ORDER BY label, revoked_at
