-- What closing a company ($1) now would change: its keys that are valid now or later, and the passports that stay. Read
-- only; there is no index on the company of keys, so this reads their tables.
SELECT c.closed_at, coalesce(u.slots_used, 0) AS passports,
       (SELECT count(*) FROM api_key k
         WHERE k.company_id = c.id AND coalesce(k.revoked_at > least(c.closed_at, now()), true)) AS api_keys,
       (SELECT count(*) FROM signing_key k
         WHERE k.company_id = c.id AND coalesce(k.revoked_at > least(c.closed_at, now()), true)) AS signing_keys
  FROM company c
  LEFT JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = $1
