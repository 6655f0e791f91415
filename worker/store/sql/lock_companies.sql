-- Second lock of a batch: the companies' usage, sorted, so that two batches with the same companies cannot deadlock.
-- `catalogue load` makes the row with the company. The facts are read by later statements, whose snapshots see all that
-- was committed before the lock.
SELECT c.id, c.number, u.slots_used
  FROM company c
  JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = ANY ($1::text[])
 ORDER BY u.company_number
   FOR UPDATE OF u
