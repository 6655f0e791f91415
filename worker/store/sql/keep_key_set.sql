-- Replaces the key set of an issuer and an address.
INSERT INTO oauth_key_set (issuer, location, keys, read_at) VALUES ($1, $2, $3, now())
ON CONFLICT ON CONSTRAINT oauth_key_set_pkey DO UPDATE SET keys = excluded.keys, read_at = excluded.read_at
