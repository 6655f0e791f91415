"""The runbook's Kafka commands, typed as they stand, on a broker with TLS, passwords and ACLs."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.deploy.pages import blocks, page
from tests.infrastructure.kafka import kafka_jars
from tests.infrastructure.kafka_user import Permissions, kafka_user_acls
from tests.infrastructure.secure_kafka import USER, SecureKafka, secure_kafka
from worker.stream.cluster.permissions import Acl

pytestmark = pytest.mark.real_kafka

GROUP, COMMANDS = "passport-worker", "dpp.passport.create.v1"
DEAD_LETTERS = f"{COMMANDS}.{GROUP}.dlq"
PERSON = (Acl("Read", "topic", COMMANDS), Acl("Read", "topic", DEAD_LETTERS), Acl("Read", "group", GROUP))
"""What the runbook says that its reader needs."""
CLASSES = {
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
}
"""What Kafka's scripts start; of Kafka we have the jars alone."""
(POSITIONS,) = (one for one in blocks(page("runbook.md"), "sh") if one.startswith("kafka-consumer-groups.sh"))
(LETTERS,) = (one for one in blocks(page("runbook.md"), "sh") if one.startswith("kafka-get-offsets.sh"))


@pytest.fixture(scope="module")
def kafka() -> Iterator[SecureKafka]:
    """A broker with an offset of the group, and dead letters of which one was never committed."""
    with secure_kafka() as kafka:
        _fill(kafka.bootstrap_servers)
        yield kafka


def _fill(servers: str) -> None:
    topics = [NewTopic(name, num_partitions=2, replication_factor=1) for name in (COMMANDS, DEAD_LETTERS)]
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.create_topics(topics).values():
        done.result(20)
    producer = Producer({"bootstrap.servers": servers, "transactional.id": "t"})
    producer.init_transactions(20)
    for reason, commit in (("old", True), ("aborted", False), ("new", True)):
        producer.begin_transaction()
        producer.produce(DEAD_LETTERS, b"personal", b"k", 1, headers=[("dlq-reason", reason.encode())])
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    group = Consumer({"bootstrap.servers": servers, "group.id": GROUP})
    group.commit(offsets=[TopicPartition(COMMANDS, 0, 0)], asynchronous=False)
    group.close()


@pytest.fixture
def shell(kafka: SecureKafka, tmp_path: Path) -> Path:
    """A folder as the pod `kafka-tools` has it: the settings of the runbook, and the authority; and the tools."""
    (settings,) = blocks(page("runbook.md"), "properties")
    settings = settings.replace('username="…"', f'username="{USER}"').replace("…", kafka.password)
    (tmp_path / "admin.properties").write_text(settings)
    (tmp_path / "ca.crt").write_bytes(kafka.authority.file.read_bytes())
    for name, starts in CLASSES.items():
        (tmp_path / name).write_text(f"#!/bin/sh\nexec java -Xmx128m -cp '{kafka_jars()}/*' {starts} \"$@\"\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def _type(command: str, kafka: SecureKafka, folder: Path, **variables: str) -> str:
    """What is seen of it."""
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "KAFKA": kafka.secure_servers, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_positions_and_dead_letters_are_shown_to_whom_the_runbook_says(kafka: SecureKafka, shell: Path) -> None:
    """The newest of them, nothing that was aborted, and no value."""
    permissions = Permissions(kafka.bootstrap_servers)
    permissions.give(*PERSON)
    try:
        assert f"{GROUP} {COMMANDS}" in " ".join(_type(POSITIONS, kafka, shell).split())
        seen = _type(LETTERS, kafka, shell, PARTITION="1", OFFSET="2")
    finally:
        for acl in PERSON:
            permissions.take(acl)
    assert f"{DEAD_LETTERS}:1:6" in seen
    assert "Processed a total of 1 messages" in seen
    assert "dlq-reason:new" in seen
    assert "personal" not in seen


def test_the_workers_own_user_may_not_read_dead_letters(kafka: SecureKafka, shell: Path) -> None:
    """As the runbook says."""
    permissions = Permissions(kafka.bootstrap_servers)
    permissions.give(*kafka_user_acls())
    seen = _type(LETTERS, kafka, shell, PARTITION="1", OFFSET="2")
    assert f"{DEAD_LETTERS}:1:6" in seen
    assert "Processed a total of 0 messages" in seen
