#!/bin/sh
# Brings back what was published and the restored database lacks, and proves it. $1 is the reason.
set -eu
passport-worker lanes recover
passport-worker lanes recover --execute --reason "$1"
passport-worker audit
