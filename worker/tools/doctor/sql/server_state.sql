-- The state of the server: its version, whether it keeps acknowledged commits, and how many connections it has left for
-- the role, without this one, by all limits. Read only; a reader sees as much as a superuser.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int / 10000 AS major,
       pg_is_in_recovery() AS in_recovery,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') <> '' AS has_standbys,
       least(
           current_setting('max_connections')::int - used.by_all
               - CASE WHEN role.rolsuper THEN 0
                      ELSE current_setting('superuser_reserved_connections')::int
                           + coalesce(current_setting('reserved_connections', true)::int, 0)
                 END,
           CASE WHEN role.rolconnlimit < 0 OR role.rolsuper THEN NULL ELSE role.rolconnlimit - used.by_role END,
           CASE WHEN base.datconnlimit < 0 OR role.rolsuper THEN NULL ELSE base.datconnlimit - used.by_database END
       )::int AS free_connections
  FROM pg_roles AS role,
       pg_database AS base,
       LATERAL (SELECT count(*) AS by_all,
                       count(*) FILTER (WHERE usesysid = role.oid) AS by_role,
                       count(*) FILTER (WHERE datid = base.oid) AS by_database
                  FROM pg_stat_activity
                 WHERE usesysid IS NOT NULL AND datid IS NOT NULL AND pid <> pg_backend_pid()) AS used
 WHERE role.rolname = session_user AND base.datname = current_database()
