-- The label of a signing key, by its id. Read only, by primary key.
SELECT label FROM signing_key WHERE kid = $1
