#!/bin/sh
# Moves the database to another PostgreSQL server by dump and restore, such as to a newer version or to a managed service.
# OLD, NEW: URLs of an administrator, with the name of the worker's database in OLD, and `postgres` in NEW.
# ROLES: the roles that workers and verbs log in as. DUMP: a folder that does not exist yet. PATH has NEW's programs.
set -eu
[ ! -e "$DUMP" ] || { echo "$DUMP exists." >&2; exit 1; }
umask 077 # others may not read the dump's hashes of passwords
database=$(psql "$OLD" --no-psqlrc --tuples-only --no-align --command 'SELECT current_database()')

# Roles first. Those that NEW has already are errors, which do not matter.
# A managed service shows no passwords: add --no-role-passwords, and set them in NEW.
pg_dumpall --dbname "$OLD" --roles-only --file "$DUMP.roles"
# NEW's administrator keeps the URL's password. If NEW refuses it, the script ends.
mine=$(psql "$NEW" --no-psqlrc --tuples-only --no-align --command 'SELECT quote_ident(current_user)')
grep -v -E "^(CREATE|ALTER) ROLE ${mine}[ ;]" "$DUMP.roles" | psql "$NEW" --no-psqlrc --quiet
psql "$NEW" --no-psqlrc --quiet --command ''

# From here workers wait. Nobody may commit to OLD any more: what the dump lacks would be lost.
for role in $ROLES; do
    psql "$NEW" --no-psqlrc --quiet --command "ALTER ROLE \"$role\" LOGIN" # also in a second run
    psql "$OLD" --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set role="$role" <<'SQL'
ALTER ROLE :"role" NOLOGIN;
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = :'role';
SQL
done
pg_dump --dbname "$OLD" --format directory --jobs 4 --file "$DUMP"
pg_restore --dbname "$NEW" --create --exit-on-error --jobs 4 "$DUMP"
psql "$NEW" --no-psqlrc --quiet --command "\\connect \"$database\"" --command ANALYZE
# Now let workers find NEW: replace the file of PASSPORT_DATABASE_URL_FILE, or the address behind the name.
