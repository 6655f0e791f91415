-- Identifies the database, and the end of its log. Another system, timeline, database or table of lanes, or a log that
-- ends earlier, means that another database answers, where commits may be missing. A copy under the same name has other
-- oids. Before the first migration the table `lane` has no oid. Read only.
SELECT (SELECT system_identifier FROM pg_control_system())::text
       || CASE WHEN pg_is_in_recovery() THEN '' ELSE '/' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END AS name,
       (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || to_regclass('lane')::oid AS oids,
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_flush_lsn() - '0/0'::pg_lsn END::bigint AS log_end
