#!/bin/sh
# Upgrades a PostgreSQL server in place with pg_upgrade. Run it as the user who owns the data; workers may keep running.
# OLD_BIN, NEW_BIN: folders of both versions' programs. OLD_DATA, NEW_DATA: data folders; NEW_DATA does not exist yet.
set -eu
superuser=${PGUSER:-postgres}

# Both clusters must have data checksums, or neither. Since PostgreSQL 18 they are the default.
checksums=--data-checksums
if LC_ALL=C "$OLD_BIN/pg_controldata" "$OLD_DATA" | grep -q 'page checksum version: *0$'; then
    checksums=$("$NEW_BIN/initdb" --help | grep -o -e --no-data-checksums || true)
fi
"$NEW_BIN/initdb" --pgdata "$NEW_DATA" --username "$superuser" ${checksums:+"$checksums"}
cp "$OLD_DATA/postgresql.conf" "$OLD_DATA/postgresql.auto.conf" "$OLD_DATA/pg_hba.conf" "$NEW_DATA"

upgrade() {
    # Archives nothing: the archive already has files with the names of the new log.
    "$NEW_BIN/pg_upgrade" --old-bindir "$OLD_BIN" --new-bindir "$NEW_BIN" --old-datadir "$OLD_DATA" \
        --new-datadir "$NEW_DATA" --username "$superuser" --socketdir "$NEW_DATA" \
        --new-options '-c archive_mode=off' "$@"
}
cd "$NEW_DATA"    # pg_upgrade writes into the current folder
upgrade --check   # while the old server still serves

# From here workers wait.
"$OLD_BIN/pg_ctl" stop --pgdata "$OLD_DATA" --mode fast --wait
upgrade           # copies; --link takes seconds, and leaves no way back but a backup
"$NEW_BIN/pg_ctl" start --pgdata "$NEW_DATA" --wait --log "$NEW_DATA/start.log"
# Now workers run again. Their plans lack statistics until these are collected.
"$NEW_BIN/vacuumdb" --all --analyze-in-stages --username "$superuser" "$@"
