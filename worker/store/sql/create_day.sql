-- Makes one daily partition with the rights of the tables' owner. Keys come before the ledger before dead letters, the
-- order in which all transactions lock them. Safe: runs under the lock on days, and stops no batch of a running worker.
SELECT make_day($1, $2)
