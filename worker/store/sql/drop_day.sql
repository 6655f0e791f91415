-- Drops the rows of one day, with the rights of the tables' owner; the names of their partitions. Keys before the ledger
-- before dead letters, as everybody locks them. Safe: under the lanes' locks, and raises their `ledger_from` with it.
SELECT name FROM drop_day($1) AS name ORDER BY name
