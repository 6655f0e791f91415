-- For workers behind PgBouncer, which ignores the settings of a session: sets them for the workers' role instead.
--   psql "$OWNER_URL" -v role=passport_worker -f deploy/scripts/pooled-role.sql
ALTER ROLE :"role" SET statement_timeout = '20s';
ALTER ROLE :"role" SET lock_timeout = '10s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE :"role" SET enable_seqscan = 'off';
ALTER ROLE :"role" SET enable_hashjoin = 'off';
ALTER ROLE :"role" SET enable_mergejoin = 'off';
ALTER ROLE :"role" SET jit = 'off';
ALTER ROLE :"role" SET max_parallel_workers_per_gather = '0';
