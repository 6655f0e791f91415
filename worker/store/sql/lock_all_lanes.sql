-- Every lane, in the order of ids, as batches lock theirs: so nobody waits for us in a circle, and from here to the
-- commit nobody writes to the ledger.
SELECT id FROM lane ORDER BY id FOR UPDATE
