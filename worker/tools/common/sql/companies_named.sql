-- Companies with an id ($1) or a name ($2). Read only; reads the table, which has a row a company.
SELECT id, name FROM company WHERE id = $1 OR name = $2 ORDER BY name, id
