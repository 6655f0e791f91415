-- Begin a lane that never ran. Safe: changes nothing when the epoch is not ours or the lane has a position.
UPDATE lane SET applied = $3, emitted = $3, ledger_from = $3 WHERE id = $1 AND epoch = $2 AND applied IS NULL
