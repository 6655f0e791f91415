-- How long this transaction waits for a lock, such as '1s': workers that need the table wait behind it.
SELECT set_config('lock_timeout', $1, true)
