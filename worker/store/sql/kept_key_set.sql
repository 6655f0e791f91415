-- The key set of an issuer and an address. Read only.
SELECT keys::text FROM oauth_key_set WHERE issuer = $1 AND location = $2
