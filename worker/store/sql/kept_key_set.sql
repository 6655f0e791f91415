SELECT keys::text FROM oauth_key_set WHERE issuer = $1 AND location = $2
