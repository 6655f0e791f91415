-- Begins the transaction of a turn and takes its first two locks, each in the order of ids, so that two turns never wait
-- for each other: its lanes, then the usage of its companies (`catalogue load` makes that row with the company). One
-- message with several statements takes no arguments: the worker writes numbers into it. Others wait from here to the
-- commit. Nothing is read here: the statements that follow see all that was committed before the locks.
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT count(*) FROM (SELECT FROM lane WHERE id = ANY ('{lanes}'::int[]) ORDER BY id FOR UPDATE) AS locked;
SELECT count(*)
  FROM (SELECT FROM company_usage WHERE company_number = ANY ('{companies}'::int[]) ORDER BY company_number FOR UPDATE)
       AS locked
