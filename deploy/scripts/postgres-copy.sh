#!/bin/sh
# Moves the database to another PostgreSQL server by dump and restore, such as a newer version or a managed service.
# OLD, NEW: URLs of an administrator, with the name of the worker's database in OLD, and `postgres` in NEW.
# ROLES: the roles that workers and verbs log in as. DUMP: a folder that does not exist yet. PATH has NEW's programs.
set -eu
[ ! -e "$DUMP" ] || { echo "$DUMP exists." >&2; exit 1; }
umask 077 # the dump has hashes of passwords
database=$(psql "$OLD" --no-psqlrc --tuples-only --no-align --command 'SELECT current_database()')

# Roles first. Ignore errors about roles that NEW already has.
# A managed service shows no passwords: add --no-role-passwords, and set them in NEW.
pg_dumpall --dbname "$OLD" --roles-only --file "$DUMP.roles"
# NEW's administrator keeps its password. If NEW refuses the URL's password, the script ends.
mine=$(psql "$NEW" --no-psqlrc --tuples-only --no-align --command 'SELECT quote_ident(current_user)')
grep -v -E "^(CREATE|ALTER) ROLE ${mine}[ ;]" "$DUMP.roles" | psql "$NEW" --no-psqlrc --quiet
psql "$NEW" --no-psqlrc --quiet --command ''

# From here workers wait. Nobody may commit to OLD: the dump would lack these commits.
for role in $ROLES; do
    psql "$NEW" --no-psqlrc --quiet --command "ALTER ROLE \"$role\" LOGIN" # after a failed first run
    psql "$OLD" --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set role="$role" <<'SQL'
ALTER ROLE :"role" NOLOGIN;
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = :'role';
SQL
done
pg_dump --dbname "$OLD" --format directory --jobs 4 --file "$DUMP"
pg_restore --dbname "$NEW" --create --exit-on-error --jobs 4 "$DUMP"
psql "$NEW" --no-psqlrc --quiet --command "\\connect \"$database\"" --command ANALYZE
# Now direct workers to NEW: replace the file of PASSPORT_DATABASE_URL_FILE, or the address of the host name.
