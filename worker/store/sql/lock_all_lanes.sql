-- Every lane, in the order of ids: a batch holds its own lane only, so nobody waits for us in a circle, and from here
-- to the commit nobody writes to the ledger.
SELECT id FROM lane ORDER BY id FOR UPDATE
