-- The rows of one day, with the rights of the tables' owner: keys before the ledger before dead letters, as everybody
-- locks them. Safe: `ledger_from` was raised first, under the lanes' locks.
SELECT drop_day($1)
