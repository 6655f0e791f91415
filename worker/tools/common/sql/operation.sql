-- An operation as it was begun. Read only.
SELECT verb, arguments, progress, outcome FROM operation WHERE id = $1
