-- The migrations that the database has. Read only.
SELECT version, name, sha256, readable_from, applied_by FROM schema_migration ORDER BY version
