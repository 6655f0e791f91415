-- An operation and its progress. Read only.
SELECT verb, arguments, progress, outcome FROM operation WHERE id = $1
