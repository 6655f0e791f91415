#!/bin/sh
# archive_command = 'ARCHIVE=/archive sh archive.sh %p %f': copies a file of PostgreSQL's log, whole or not at all.
set -eu
if [ -e "$ARCHIVE/$2" ]; then
    cmp "$1" "$ARCHIVE/$2" # after a crash the server may archive the same file again
else
    cp "$1" "$ARCHIVE/$2.part"
    sync "$ARCHIVE/$2.part"
    mv "$ARCHIVE/$2.part" "$ARCHIVE/$2"
fi
sync "$ARCHIVE" # the folder too: otherwise a power cut may undo the rename
