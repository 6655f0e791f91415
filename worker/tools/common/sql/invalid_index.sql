-- An index that CREATE INDEX CONCURRENTLY began and did not finish, as a quoted name. Read only.
SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid
