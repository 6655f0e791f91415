-- Companies ($1) that have more passports than their plan has slots once these are restored ($2), and were or will be ($3)
-- charged for fewer. Read only.
SELECT c.id AS company_id, u.slots_used + planned.passports AS slots_used, p.max_dpps
  FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS planned (company_id, passports, charges)
  JOIN company c ON c.id = planned.company_id
  JOIN company_usage u ON u.company_number = c.number
  JOIN plan p ON p.id = c.plan_id
 WHERE u.slots_used + planned.passports > p.max_dpps
   AND u.slots_used + planned.passports - p.max_dpps
       > planned.charges + (SELECT count(*) FROM overage_charge o WHERE o.company_number = c.number)
 ORDER BY c.id
