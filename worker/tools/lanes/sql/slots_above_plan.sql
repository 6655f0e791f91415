-- Companies that have more passports than their plan has slots, and were not charged for all above. Read only.
SELECT c.id AS company_id, u.slots_used, p.max_dpps
  FROM company c JOIN company_usage u ON u.company_number = c.number JOIN plan p ON p.id = c.plan_id
 WHERE c.id = ANY ($1::text[]) AND u.slots_used > p.max_dpps
   AND u.slots_used - p.max_dpps > (SELECT count(*) FROM overage_charge o WHERE o.company_number = c.number)
 ORDER BY c.id
