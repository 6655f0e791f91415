#!/bin/sh
# Creates the data folder $DATA from the base backup $BACKUP. Once you start the server, it reads the log in $ARCHIVE up to
# the time $MOMENT, or all of it if $MOMENT is empty, and then serves.
set -eu
[ ! -e "$DATA" ] || { echo "$DATA exists: move it away first." >&2; exit 1; }
archive=$(cd "$ARCHIVE" && pwd) # with a missing folder, the server would assume the end of the log, and serve
cp -R "$BACKUP" "$DATA"
chmod 700 "$DATA"
case ${MOMENT:-} in *[Zz]) MOMENT=${MOMENT%?}+00:00 ;; esac # PostgreSQL refuses the Z of RFC 3339
# The server deletes these settings at the end of its recovery. A standby would copy them, and promote itself.
cat >> "$DATA/postgresql.auto.conf" << SETTINGS
restore_command = 'cp "$archive/%f" "%p"'
recovery_target_time = '${MOMENT:-}'
recovery_target_action = promote
recovery_end_command = 'sed -i -E "/^(restore_command|recovery_target|recovery_end)/d" postgresql.auto.conf'
SETTINGS
touch "$DATA/recovery.signal"
