-- The beginning of the current minute, by the database's clock.
SELECT date_trunc('minute', now()) AS this_minute
