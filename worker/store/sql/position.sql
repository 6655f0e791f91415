-- The position of a lane, and the epoch that tells whether it is still ours. Read only.
SELECT epoch, applied, emitted, ledger_from FROM lane WHERE id = $1
