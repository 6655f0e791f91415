-- The wanted rights that a role ($5; null: the session's own) lacks. An object that does not exist counts as no missing
-- right: another check compares the schema. Read only.
SELECT asked.role, wanted.place::int AS place
  FROM (SELECT coalesce($5, current_user) AS role) AS asked,
       unnest($1::text[], $2::text[], $3::text[], $4::text[])
       WITH ORDINALITY
    AS wanted (privilege, columns, kind, object, place)
 WHERE CASE
           WHEN kind = 'SCHEMA' THEN EXISTS (
               SELECT FROM pg_class
                WHERE relname = 'schema_migration'
                  AND oid = coalesce(to_regclass('schema_migration'), oid)
                  AND NOT has_schema_privilege(role, relnamespace, privilege)
           )
           WHEN kind = 'FUNCTION' THEN NOT has_function_privilege(role, to_regprocedure(object)::oid, privilege)
           WHEN columns IS NULL THEN NOT has_table_privilege(role, to_regclass(object)::oid, privilege)
           ELSE EXISTS (
               SELECT FROM pg_attribute
                WHERE attrelid = to_regclass(object)
                  AND attname = ANY (string_to_array(columns, ', '))
                  AND NOT has_column_privilege(role, attrelid, attnum, privilege)
           )
       END
 ORDER BY place
