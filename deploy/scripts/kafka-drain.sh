#!/bin/sh
# Before a move to another Kafka cluster: waits until each command on the old one has its visible result, and proves it.
# Needs the workers' settings. Producers have stopped, or hold back their commands.
set -eu
passport-worker lanes --until-answered
passport-worker audit
