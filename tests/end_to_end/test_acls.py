"""The worker with a password over TLS and exactly the ACLs of the KafkaUser: all it does works, and each is needed."""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.certificates import Authority
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.kafka_user import Permissions, kafka_user_acls
from tests.infrastructure.secure_kafka import USER, SecureKafka, secure_kafka
from tests.integration.submitting import kafka_alone, outcomes, sheet
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.outcomes import answer_all, check_outcomes
from tests.workbench import REPOSITORY, Workbench, get, make_workbench, run_command, settings_of, tenant, until
from worker.stream.cluster.permissions import Acl, needed_acls
from worker.tools.common.acls import submitting_acls
from worker.tools.demo.embedded import free_port

pytestmark = pytest.mark.real_kafka

SECONDS_TO_REFUSE = 10.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[SecureKafka]:
    """A broker of this file's own."""
    with secure_kafka() as kafka:
        yield kafka


@pytest.fixture(scope="module")
def permissions(kafka: SecureKafka) -> Permissions:
    """Those of the KafkaUser, from the start."""
    permissions = Permissions(kafka.bootstrap_servers)
    permissions.give(*kafka_user_acls())
    return permissions


@pytest_asyncio.fixture(scope="module")
async def furnished(servers: Infrastructure, kafka: SecureKafka) -> AsyncIterator[Workbench]:
    """Topics and group of the contract's names, made and read as an administrator."""
    defaults = {
        f"PASSPORT_{name.upper()}": str(value)
        for name, value in settings_of({}).model_dump().items()
        if name == "group_id" or (name.startswith("topic_") and name != "topic_partitions")
    }
    async with fresh_database(servers.database_url) as url:
        yield await make_workbench(kafka.bootstrap_servers, url, "", 2, **defaults)


@pytest.fixture
async def bench(furnished: Workbench, permissions: Permissions) -> AsyncIterator[Workbench]:
    """Its worker processes are killed after each test."""
    yield furnished
    await asyncio.to_thread(furnished.kill_workers)


def test_the_kafka_user_has_what_the_worker_needs_and_no_more() -> None:
    """The file that is deployed says what the code says, each once."""
    assert sorted(map(str, kafka_user_acls())) == sorted(map(str, needed_acls(settings_of({}))))


async def test_everything_works_with_just_these_acls(bench: Workbench, kafka: SecureKafka, tmp_path: Path) -> None:
    """Every outcome with its dead letters, workers that join and leave, and a replay from the ledger."""
    environment = kafka.worker_environment()
    first = bench.start_worker(tmp_path / "first.log", **environment)
    results = await answer_all(bench)
    check_outcomes(bench, results)
    assert len(bench.read([bench.dead_letters])) == 2
    second = bench.start_worker(tmp_path / "second.log", **environment)
    await until(lambda: '"event": "assigned"' in (tmp_path / "second.log").read_text(), 20, "the second worker joined")
    bench.publish({**bench.command(tenant(7), 7, f"u{n}"), "partition": n % 2} for n in range(40))
    await bench.wait_for_results(len(results) + 40)
    assert [bench.stop_worker(first), bench.stop_worker(second)] == [0, 0]
    await check_invariants(bench)
    commit_offset(bench, 0, 10)
    third = bench.start_worker(tmp_path / "third.log", **environment)
    again = len(results) + 20 - 10
    await bench.wait_for_results(len(results) + 40 + again)
    assert bench.stop_worker(third) == 0
    counted = Counter(result.cause for result in await check_invariants(bench, reemitted=True))
    assert sorted(counted.values()) == [1] * (10 + 20) + [2] * again


async def test_an_operator_needs_to_read_results_and_groups_of_replays(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions
) -> None:
    """Beside what a worker has."""
    environment, settings = kafka.worker_environment(), bench.settings
    replay = ("--rate", "0", "--execute", "--reason", "a test of rights")
    assert (await ask(bench, "replay", *replay, **environment)).codes == ["kafka-rights"]
    assert (await ask(bench, "audit", **environment)).codes == ["kafka-rights"]
    more = (
        Acl("Read", "topic", bench.dead_letters),
        Acl("Read", "group", f"{settings.group_id}.replay.", prefixed=True),
    )
    permissions.give(*more)
    try:
        assert (await ask(bench, "replay", *replay, **environment)).code == 0
        assert (await ask(bench, "audit", **environment)).code == 0
        assert (await ask(bench, "lanes recover", "--execute", "--reason", "a test", **environment)).code == 0
    finally:
        for acl in more:
            permissions.take(acl)


async def test_a_producer_needs_to_write_commands_and_read_results(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions, tmp_path: Path
) -> None:
    """And no more, for `submit` and `tail`; what is missing is named."""
    settings, own = bench.settings, kafka_user_acls()
    needed = submitting_acls(settings)
    assert needed == (
        Acl("Write", "topic", settings.topic_commands),
        *(Acl("Read", "topic", topic) for topic in settings.result_topics),
    )
    bench.start_worker(tmp_path / "worker.log")  # as an administrator
    file = sheet(tmp_path / "units.csv", ("acl-1", "acl-2"))
    for acl in own:
        permissions.take(acl)
    try:
        permissions.give(*needed[:-1])
        for verb in (("submit", str(file)), ("tail",)):
            refused = await asyncio.to_thread(run_command, *verb, **_producer(bench, kafka))
            assert refused.returncode == 1
            assert f"Kafka denies user {USER} {needed[-1]}. Allow it" in refused.stderr
        permissions.give(needed[-1])
        done = await asyncio.to_thread(run_command, "submit", str(file), **_producer(bench, kafka))
        assert done.returncode == 0, done
        assert outcomes(file) == ["created", "created"]
    finally:
        for acl in needed:
            permissions.take(acl)
        permissions.give(*own)


def _producer(bench: Workbench, kafka: SecureKafka) -> dict[str, str]:
    return {**kafka_alone(bench), **kafka.worker_environment()}


async def test_an_example_program_needs_no_right_on_groups(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions, tmp_path: Path
) -> None:
    """The one of confluent-kafka, whose library asks for a group's coordinator also where it joins no group.

    Seen to fail before: it ended with GROUP_AUTHORIZATION_FAILED behind its command, before the answer.
    """
    bench.start_worker(tmp_path / "worker.log")  # as an administrator
    own, needed = kafka_user_acls(), submitting_acls(bench.settings)
    security = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": USER,
        "sasl.password": kafka.password,
        "ssl.ca.location": str(kafka.authority.file),
    }
    program = (REPOSITORY / "schemas" / "clients" / "confluent_kafka_client.py").read_text(encoding="utf-8")
    servers = '"bootstrap.servers": SERVERS'
    assert program.count(servers) == 2
    (tmp_path / "client.py").write_text(program.replace(servers, f"**{security}, {servers}"), encoding="utf-8")
    environment = {**os.environ, **bench.environment, "KAFKA_BOOTSTRAP_SERVERS": kafka.secure_servers}
    for acl in own:
        permissions.take(acl)
    permissions.give(*needed)
    try:
        run = [sys.executable, str(tmp_path / "client.py")]
        done = await asyncio.to_thread(
            subprocess.run, run, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert "eu.tracepass.passport.rejected.v1" in done.stdout, done.stderr
    finally:
        for acl in needed:
            permissions.take(acl)
        permissions.give(*own)


@pytest.mark.parametrize("acl", kafka_user_acls(), ids=str)
def test_an_acl_that_is_taken_away_is_named(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions, acl: Acl
) -> None:
    """`run` ends with 1 within seconds and says which one to add, and no other."""
    permissions.take(acl)
    try:
        started = time.monotonic()
        refused = run_command("run", **{**bench.environment, **kafka.worker_environment()})
        assert time.monotonic() - started < SECONDS_TO_REFUSE
    finally:
        permissions.give(acl)
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        1,
        f"passport-worker: Kafka denies user {USER} {acl}. Allow it, with one ACL each.",
    )


async def test_an_acl_that_goes_while_it_runs_is_waited_for(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions, tmp_path: Path
) -> None:
    """The worker stays up, says on /readyz what it lacks, and answers all when it has it again."""
    before, port, write = len(bench.results()), free_port(), Acl("Write", "topic", bench.settings.topic_created)
    bench.start_worker(tmp_path / "worker.log", **kafka.worker_environment(), PASSPORT_HTTP_PORT=str(port))
    ready = f"http://127.0.0.1:{port}/readyz"
    await until(lambda: get(ready)[0] == 200, 20, "it is ready")
    permissions.take(write)
    bench.publish([{**bench.command(tenant(8), 8, "waits"), "partition": 0}])
    await until(lambda: "TopicAuthorizationFailed" in get(ready)[1], 20, "/readyz says why")
    permissions.give(write)
    await bench.wait_for_results(before + 1)
    await check_invariants(bench, reemitted=True)


async def test_a_lane_that_may_not_publish_holds_up_no_other(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions, tmp_path: Path
) -> None:
    """Where the worker may not write to one result topic, lanes whose results go elsewhere go on within 30 s."""
    before, port, write = len(bench.results()), free_port(), Acl("Write", "topic", bench.settings.topic_created)
    bench.start_worker(tmp_path / "worker.log", **kafka.worker_environment(), PASSPORT_HTTP_PORT=str(port))
    ready = f"http://127.0.0.1:{port}/readyz"
    await until(lambda: get(ready)[0] == 200, 60, "it is ready")
    permissions.take(write)
    for turn in range(3):
        refused = {**bench.command(tenant(8), 8, f"alone-{turn}"), "partition": 0}
        bench.publish([refused, {"value": b"garbage", "headers": [], "partition": 1}])
        await bench.wait_for_results(before + turn + 1, 30)
    await until(lambda: _named(get(ready)[1]) == ["partition 0"], 30, f"only lane 0 waits: {get(ready)}")
    permissions.give(write)
    await bench.wait_for_results(before + 6)
    await check_invariants(bench, reemitted=True)


def _named(readyz: str) -> list[str]:
    return [line[: len("partition 0")] for line in readyz.splitlines()]


async def test_a_broker_that_asks_for_a_certificate_gets_it(
    bench: Workbench, kafka: SecureKafka, tmp_path: Path
) -> None:
    """Beside the password, where the settings name a certificate and its key."""
    certificate, key = kafka.authority.issue("worker")
    environment = {
        **kafka.worker_environment(),
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": kafka.mutual_servers,
        "PASSPORT_KAFKA_SSL_CERTFILE": str(certificate),
        "PASSPORT_KAFKA_SSL_KEYFILE": str(key),
    }
    before = len(bench.results())
    bench.start_worker(tmp_path / "worker.log", **environment)
    bench.publish([{**bench.command(tenant(9), 9, "mutual"), "partition": 0}])
    await bench.wait_for_results(before + 1)


@pytest.mark.parametrize("command", [("run",), ("topics", "create")], ids=" ".join)
@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("PASSWORD", "not-the-password", "[Error 58] SaslAuthenticationFailed"),
        ("USERNAME", "nobody", "[Error 58] SaslAuthenticationFailed"),
        ("MECHANISM", "PLAIN", "[Error 33] UnsupportedSaslMechanismError"),
    ],
)
def test_wrong_credentials_are_told(
    bench: Workbench, kafka: SecureKafka, setting: str, value: str, reason: str, command: tuple[str, ...]
) -> None:
    """Waiting does not mend them: exit 1, with the address and the family of the settings, and without the password."""
    wrong = {**kafka.worker_environment(), f"PASSPORT_KAFKA_SASL_{setting}": value}
    refused = run_command(*command, **{**bench.environment, **wrong})
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert f"cannot be used with these PASSPORT_KAFKA_* settings: {kafka.secure_servers}: {reason}: " in last
    assert "not-the-password" not in refused.stderr
    assert kafka.password not in refused.stderr


def test_a_certificate_that_is_not_trusted_is_told(bench: Workbench, kafka: SecureKafka, tmp_path: Path) -> None:
    """So is a broker that another authority vouches for."""
    other = {**kafka.worker_environment(), "PASSPORT_KAFKA_SSL_CAFILE": str(Authority(tmp_path).file)}
    refused = run_command("run", **{**bench.environment, **other})
    assert refused.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
    assert kafka.secure_servers in refused.stderr


async def test_a_company_with_a_channel_needs_no_right_on_other_topics(
    bench: Workbench, kafka: SecureKafka, permissions: Permissions, tmp_path: Path
) -> None:
    """It writes commands and reads results of its own channel, and reads nobody else's.

    The last test here, since the others compare the ledger with the results of the default channel.
    """
    await bench.add_channel("acme", 1)
    own, needed = kafka_user_acls(), submitting_acls(bench.settings.of_channel("acme"))
    assert {acl.name.partition(".")[0] for acl in needed} == {"acme"}
    bench.start_worker(tmp_path / "worker.log")  # as an administrator
    file = sheet(tmp_path / "units.csv", ("channel-1", "channel-2"))
    for acl in own:
        permissions.take(acl)
    permissions.give(*needed)
    try:
        producer = {**_producer(bench, kafka), "PASSPORT_CHANNELS": ""}
        done = await asyncio.to_thread(run_command, "submit", str(file), "--channel", "acme", **producer)
        assert done.returncode == 0, done
        assert outcomes(file) == ["created", "created"]
        others = sheet(tmp_path / "others.csv", ("channel-3",))
        for verb in (("submit", str(others)), ("tail",)):
            refused = await asyncio.to_thread(run_command, *verb, **producer)
            assert (refused.returncode, f"Kafka denies user {USER}" in refused.stderr) == (1, True), refused
    finally:
        for acl in needed:
            permissions.take(acl)
        permissions.give(*own)
        bench.environment["PASSPORT_CHANNELS"] = ""
        bench.settings = settings_of(bench.environment)
