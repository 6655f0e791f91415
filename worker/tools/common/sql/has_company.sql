-- Whether a company has this id. Read only.
SELECT EXISTS (SELECT FROM company WHERE id = $1)
