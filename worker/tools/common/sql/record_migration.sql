-- One applied migration, in the transaction of its effects: both are there, or neither is.
INSERT INTO schema_migration (version, name, sha256) VALUES ($1, $2, $3)
