#!/bin/sh
# Makes the topics of new channels on another Kafka cluster, and checks that workers may start there.
# Settings: those of the workers, with the addresses and credentials of the new cluster. $1: the channels, such as two,acme-two.
set -eu
export PASSPORT_CHANNELS="$1" PASSPORT_DEFAULT_CHANNEL=false
passport-worker topics create
passport-worker doctor
