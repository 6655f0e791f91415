-- Those of the wanted rights that a role lacks; $5 is its name, null for the session's own. Read only. What does not exist
-- is not missing: whether the schema is the right one is asked elsewhere.
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
