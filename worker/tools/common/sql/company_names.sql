-- Names of companies by their ids ($1). Read only, by index.
SELECT id, name FROM company WHERE id = ANY($1)
