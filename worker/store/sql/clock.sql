-- The server's clock, in Unix seconds. Touches no table.
SELECT extract(epoch FROM clock_timestamp())::float8
