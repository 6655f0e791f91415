-- The label of an API key, by its hash. Read only, by primary key; readers may not see hashes.
SELECT label FROM api_key WHERE sha256 = $1
