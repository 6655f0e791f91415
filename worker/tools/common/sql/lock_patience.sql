-- How long this transaction waits for a lock ($1, such as '1s'), since workers that need the table wait behind it, and how
-- long it keeps its locks if its process falls silent ($2).
SELECT set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)
