#!/bin/sh
# archive_command = 'ARCHIVE=/archive sh archive.sh %p %f': copies a file of PostgreSQL's log, whole or not at all.
set -eu
if [ -e "$ARCHIVE/$2" ]; then
    exec cmp "$1" "$ARCHIVE/$2" # after a crash the server brings the same file again
fi
cp "$1" "$ARCHIVE/$2.part"
sync "$ARCHIVE/$2.part"
mv "$ARCHIVE/$2.part" "$ARCHIVE/$2"
