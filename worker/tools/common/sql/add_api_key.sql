-- Adds an API key. Safe: the hash is that of 32 random bytes, which no other key has.
INSERT INTO api_key (sha256, company_id, label)
VALUES ($1, $2, $3)
RETURNING sha256, company_id, label, revoked_at, false AS is_revoked
