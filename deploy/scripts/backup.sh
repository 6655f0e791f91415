#!/bin/sh
# Takes a base backup into a new folder of $BACKUPS, checks it, and notes it. $SOURCE is the URL of the server, for a role
# with REPLICATION; PASSPORT_* are the settings of a worker. A folder that ends in .part was not checked: do not restore it.
set -eu
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
pg_basebackup --dbname="$SOURCE" --pgdata="$BACKUPS/$began.part" --checkpoint=fast
pg_verifybackup --quiet "$BACKUPS/$began.part"
mv "$BACKUPS/$began.part" "$BACKUPS/$began"
passport-worker backup-taken --at "$began" # for doctor and an alert
