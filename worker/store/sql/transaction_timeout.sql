-- Limits the transactions of this session, where the server has such a limit (PostgreSQL 17). Touches no table.
SELECT set_config('transaction_timeout', $1, false) WHERE current_setting('server_version_num')::int >= 170000
