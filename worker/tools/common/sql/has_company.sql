-- Whether there is a company of this id. Read only.
SELECT EXISTS (SELECT FROM company WHERE id = $1)
