-- Whether the database was ever migrated. Read only.
SELECT to_regclass('schema_migration') IS NOT NULL
