-- Locks the usage of companies for `lanes recover`, as `begin.sql` does for turns. The facts are read by later statements,
-- whose snapshots see all that was committed before the lock. Looked up row by row, as `record.sql` says.
SELECT c.id, u.company_number, u.slots_used
  FROM company_usage u, LATERAL (SELECT id FROM company WHERE number = u.company_number LIMIT 1) AS c
 WHERE u.company_number = ANY (ARRAY(SELECT number FROM company WHERE id = ANY ($1::text[])))
 ORDER BY u.company_number
   FOR UPDATE OF u
