-- Records an applied migration, in the transaction of its effects: the database has both or neither.
INSERT INTO schema_migration (version, name, sha256, readable_from, applied_by) VALUES ($1, $2, $3, $4, $5)
