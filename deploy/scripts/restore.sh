#!/bin/sh
# Makes the data folder $DATA from the base backup $BACKUP. The server, once you start it, reads the log in $ARCHIVE up to
# the time $MOMENT, or all of it where $MOMENT is empty, and then serves.
set -eu
cp -R "$BACKUP" "$DATA"
chmod 700 "$DATA"
cat >> "$DATA/postgresql.auto.conf" << SETTINGS
restore_command = 'cp "$ARCHIVE/%f" "%p"'
recovery_target_time = '${MOMENT:-}'
recovery_target_action = promote
SETTINGS
touch "$DATA/recovery.signal"
