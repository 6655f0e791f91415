-- Limit this session's transactions, where the server knows such a limit (PostgreSQL 17). Touches no table.
SELECT set_config('transaction_timeout', $1, false) WHERE current_setting('server_version_num')::int >= 170000
