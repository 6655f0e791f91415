-- The rows of one day: keys before the ledger before dead letters, as everybody locks them. Safe: `ledger_from` was
-- raised first.
DROP TABLE IF EXISTS idempotency_key_{day:%Y%m%d};
DROP TABLE IF EXISTS ledger_{day:%Y%m%d};
DROP TABLE IF EXISTS dead_letter_{day:%Y%m%d}
