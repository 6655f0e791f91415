#!/bin/sh
# Restores what was published but is missing in the restored database, and proves it. $1 is the reason.
set -eu
passport-worker lanes recover
passport-worker lanes recover --execute --reason "$1"
passport-worker audit
