#!/bin/sh
# Takes a base backup into a new folder of $BACKUPS, and checks it. $SOURCE has the server, and a role with REPLICATION.
set -eu
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
pg_basebackup --dbname="$SOURCE" --pgdata="$BACKUPS/$began" --checkpoint=fast
pg_verifybackup --quiet "$BACKUPS/$began"
