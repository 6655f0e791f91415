-- Second lock of a batch: the companies' usage, sorted, so that two batches with the same companies cannot deadlock;
-- with the companies and their plans. The catalogue makes the row of usage with the company. All other facts are read
-- by later statements, whose snapshots are younger.
SELECT c.id, c.subscription, p.id AS plan_id, p.max_dpps, p.overage_price_cents, p.max_v1_writes_per_day, u.slots_used
  FROM company_usage u
  JOIN company c ON c.id = u.company_id
  JOIN plan p ON p.id = c.plan_id
 WHERE u.company_id = ANY ($1::text[])
 ORDER BY u.company_id
   FOR UPDATE OF u
