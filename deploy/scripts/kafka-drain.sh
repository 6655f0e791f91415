#!/bin/sh
# Before a move to another Kafka cluster: waits until each command on this one has its visible result, and proves it.
# Settings: those of the workers. Producers have stopped, or keep their commands.
set -eu
passport-worker lanes --until-answered
passport-worker audit
