-- Companies with a name ($1), as it is written. Read only; reads the table, which has one row per company.
SELECT id, name FROM company WHERE name = $1 ORDER BY id
