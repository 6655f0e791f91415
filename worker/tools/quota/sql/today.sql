-- The UTC day, by the database's clock. Touches no table.
SELECT (now() AT TIME ZONE 'UTC')::date
