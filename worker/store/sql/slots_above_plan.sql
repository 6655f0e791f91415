-- Companies that have more passports than their plan has slots, and were not charged for all that are above. Read only.
SELECT u.company_id, u.slots_used, p.max_dpps
  FROM company_usage u JOIN company c ON c.id = u.company_id JOIN plan p ON p.id = c.plan_id
 WHERE u.company_id = ANY ($1::text[]) AND u.slots_used > p.max_dpps
   AND u.slots_used - p.max_dpps > (SELECT count(*) FROM overage_charge o WHERE o.company_id = u.company_id)
 ORDER BY u.company_id
