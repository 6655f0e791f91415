-- One daily partition, made with the rights of the tables' owner. Safe: runs under the lock on days, and lets the batches
-- of running workers go on. Keys before the ledger before dead letters, as everybody locks them.
SELECT make_day($1, $2)
