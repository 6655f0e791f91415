"""Kafka's own command-line tools, from the jars that the tests' broker runs on."""

import subprocess

from tests.infrastructure.kafka import kafka_jars

_SECONDS = 60.0


def kafka_configs(bootstrap_servers: str, *arguments: str) -> str:
    """`kafka-configs.sh` with these arguments; its output. Raises `KafkaMissing`."""
    java = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{kafka_jars()}/*", "kafka.admin.ConfigCommand"]
    command = [*java, "--bootstrap-server", bootstrap_servers, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
