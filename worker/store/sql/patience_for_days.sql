-- Dropping a day stops all lanes while it waits: for this transaction only, wait briefly rather than surely.
SET LOCAL lock_timeout = '3s';
SET LOCAL statement_timeout = '10s'
