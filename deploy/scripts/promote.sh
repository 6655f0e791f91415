#!/bin/sh
# Makes the standby $STANDBY, a URL, the primary. First make certain that the old primary is off and stays off.
set -eu
# PostgreSQL waits for a minute. If that is not enough, it returns `f`, which is no error for psql.
promoted=$(psql "$STANDBY" --no-psqlrc --tuples-only --no-align --command 'SELECT pg_promote()')
[ "$promoted" = t ] || { echo "The standby has not become the primary yet: read its log." >&2; exit 1; }
