-- Shortens the wait for locks in this transaction: while it waits to drop a day, all lanes wait behind it.
SET LOCAL lock_timeout = '3s';
SET LOCAL statement_timeout = '10s'
