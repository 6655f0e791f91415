-- A company ($1) with the number of its passports. Read only, by primary key.
SELECT c.id, c.name, c.plan_id AS plan, c.subscription, c.prefill::text AS prefill, c.channels,
       c.signatures_required_from, c.closed_at, coalesce(u.slots_used, 0) AS passports, c.number
  FROM company c
  LEFT JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = $1
