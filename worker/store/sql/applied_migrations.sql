-- The migrations that the database has. Read only.
SELECT version, name, sha256 FROM schema_migration ORDER BY version
