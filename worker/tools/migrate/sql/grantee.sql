-- A role's name and the tables' schema as quoted identifiers; no row if the role does not exist. Without that check
-- the name "public" would mean everybody, even in quotes. Read only.
SELECT quote_ident(rolname) AS role, (SELECT relnamespace::regnamespace::text
                                        FROM pg_class
                                       WHERE oid = 'schema_migration'::regclass) AS schema
  FROM pg_roles
 WHERE rolname = $1
