-- The rows of one day, with the rights of the tables' owner: keys before the ledger before dead letters, as everybody
-- locks them. Safe: under the lanes' locks, and raises their `ledger_from` with it.
SELECT drop_day($1)
