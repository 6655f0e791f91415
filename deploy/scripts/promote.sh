#!/bin/sh
# Makes the standby $STANDBY, a URL, the primary. First make certain that the old primary is off and stays off.
set -eu
psql "$STANDBY" --no-psqlrc --set ON_ERROR_STOP=1 --command 'SELECT pg_promote()'
