#!/bin/sh
# Creates the topics of new channels on another Kafka cluster, and checks that workers can start there.
# Needs the workers' settings, with the new cluster's addresses and credentials. $1: the channels, such as two,acme-two.
set -eu
export PASSPORT_CHANNELS="$1" PASSPORT_DEFAULT_CHANNEL=false
passport-worker topics create
passport-worker doctor
