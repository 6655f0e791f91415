-- Drops the rows of one day with the rights of the tables' owner, and returns the names of the partitions. Keys come
-- before the ledger before dead letters, the order in which all transactions lock them. Safe: runs under the lanes'
-- locks, and raises their `ledger_from`.
SELECT name FROM drop_day($1) AS name ORDER BY name
