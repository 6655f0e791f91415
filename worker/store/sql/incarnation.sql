-- Which database this is, and how far its log goes: another system, timeline, database or table of lanes, or a log that
-- ends earlier than before, is another database than it was, where commits may be missing. A copy that takes the name of
-- the database has another oid; none are told before the first migration has made `lane`. Read only.
SELECT (SELECT system_identifier FROM pg_control_system())::text
       || CASE WHEN pg_is_in_recovery() THEN '' ELSE '/' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END AS name,
       (SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || to_regclass('lane')::oid AS oids,
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_flush_lsn() - '0/0'::pg_lsn END::bigint AS log_end
