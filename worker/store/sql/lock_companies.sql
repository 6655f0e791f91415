-- Second lock of a batch: the companies' usage, sorted, so that two batches with the same companies cannot deadlock.
-- The catalogue makes the row with the company. Facts are read by later statements, whose snapshots are younger.
SELECT company_id, slots_used
  FROM company_usage
 WHERE company_id = ANY ($1::text[])
 ORDER BY company_id
   FOR UPDATE
