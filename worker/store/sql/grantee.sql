-- A role's name and the tables' schema, as identifiers. Read only.
SELECT quote_ident($1) AS role, (SELECT relnamespace::regnamespace::text
                                   FROM pg_class
                                  WHERE oid = 'schema_migration'::regclass) AS schema
