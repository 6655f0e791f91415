-- Which database this is, and how far its log goes: another system, another timeline, or a log that ends earlier than
-- before, is another database than it was, where commits may be missing. Read only.
SELECT (SELECT system_identifier FROM pg_control_system())::text
       || CASE WHEN pg_is_in_recovery() THEN '' ELSE '/' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END AS name,
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_wal_flush_lsn() - '0/0'::pg_lsn END::bigint AS log_end
