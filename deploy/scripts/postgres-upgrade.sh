#!/bin/sh
# Upgrades a PostgreSQL server in place with pg_upgrade. Run it as the user who owns the data; workers may go on running.
# OLD_BIN, NEW_BIN: folders of both versions' programs. OLD_DATA, NEW_DATA: data folders; NEW_DATA does not exist yet.
set -eu
superuser=${PGUSER:-postgres}

# The new cluster has to have data checksums if the old one has, and only then. Since PostgreSQL 18 they are the default.
checksums=--data-checksums
if LC_ALL=C "$OLD_BIN/pg_controldata" "$OLD_DATA" | grep -q 'page checksum version: *0$'; then
    checksums=$("$NEW_BIN/initdb" --help | grep -o -e --no-data-checksums || true)
fi
"$NEW_BIN/initdb" --pgdata "$NEW_DATA" --username "$superuser" ${checksums:+"$checksums"}
cp "$OLD_DATA/postgresql.conf" "$OLD_DATA/postgresql.auto.conf" "$OLD_DATA/pg_hba.conf" "$NEW_DATA"

upgrade() {
    # Archives nothing: files of the new log have names that the archive has.
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
# Now workers go on, on plans without statistics until these are there.
"$NEW_BIN/vacuumdb" --all --analyze-in-stages --username "$superuser" "$@"
