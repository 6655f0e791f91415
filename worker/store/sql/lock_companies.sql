-- Locks the usage of companies for `lanes recover`, as `begin.sql` does for turns. The facts are read by later statements,
-- whose snapshots see all that was committed before the lock.
SELECT c.id, c.number, u.slots_used
  FROM company c
  JOIN company_usage u ON u.company_number = c.number
 WHERE c.id = ANY ($1::text[])
   AND u.company_number = ANY (ARRAY(SELECT number FROM company WHERE id = ANY ($1::text[])))  -- read by the index
 ORDER BY u.company_number
   FOR UPDATE OF u
