-- A role's name, and the tables' schema, as identifiers; no row where there is no such role: the quoted name "public" would
-- be everybody. Read only.
SELECT quote_ident(rolname) AS role, (SELECT relnamespace::regnamespace::text
                                        FROM pg_class
                                       WHERE oid = 'schema_migration'::regclass) AS schema
  FROM pg_roles
 WHERE rolname = $1
