-- Locks every lane in the order of ids, as batches do, so that there is no deadlock. Nobody writes to the ledger from
-- here to the commit.
SELECT id FROM lane ORDER BY id FOR UPDATE
