"""Kafka's own command-line tools, from the jars that the tests' broker runs on."""

import subprocess

from tests.infrastructure.kafka import kafka_java

_SECONDS = 60.0


def kafka_configs(bootstrap_servers: str, *arguments: str) -> str:
    """`kafka-configs.sh` with these arguments; its output. Raises `KafkaMissing`."""
    java, *options = kafka_java()
    tool = [java, "-XX:TieredStopAtLevel=1", *options, "kafka.admin.ConfigCommand"]
    command = [*tool, "--bootstrap-server", bootstrap_servers, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
