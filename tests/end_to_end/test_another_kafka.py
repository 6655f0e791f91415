"""Another Kafka cluster: the scripts of `deploy/move.md`, between two real clusters and on one database."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.conftest import MakeBench
from tests.infrastructure.archiving import SCRIPTS, run_script
from tests.infrastructure.forked import run_forked
from tests.infrastructure.kafka import LocalKafka
from tests.infrastructure.postgres import programs_of_wheel
from tests.invariants import Account, account_of, check_account, check_invariants
from tests.operations.asking import Told, ask
from tests.signing import add_signing_key, signed, signer_of
from tests.workbench import ANY_PARTITION, Result, Workbench, run_command, settings_of, tenant, until

pytestmark = pytest.mark.real_kafka

CHANNEL = "two"
SIGNING = tenant(3)


@dataclass
class BothClusters(Workbench):
    """The commands and results of the default channel on the old cluster, and those of `CHANNEL` on the new one."""

    new_bootstrap_servers: str = ""

    def stream(
        self, topics: Sequence[str], isolation: str = "read_committed", partitions: Container[int] = ANY_PARTITION
    ) -> Iterator[Result]:
        """Each topic from its cluster."""
        moved = [topic for topic in topics if topic.startswith(f"{CHANNEL}.")]
        on_new = replace(self, settings=_at(self.settings, self.new_bootstrap_servers))
        for bench, own in ((self, [topic for topic in topics if topic not in moved]), (on_new, moved)):
            if own:
                yield from Workbench.stream(bench, own, isolation, partitions)

    @property
    def on_new(self) -> Workbench:
        """The new cluster alone: its channel is the only one."""
        environment = {
            **self.environment,
            "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": self.new_bootstrap_servers,
            "PASSPORT_CHANNELS": CHANNEL,
            "PASSPORT_DEFAULT_CHANNEL": "false",
        }
        return Workbench(environment, settings_of(environment), self.workers, self.logs)


def _at(settings: Any, bootstrap_servers: str) -> Any:
    return settings.model_copy(update={"kafka_bootstrap_servers": bootstrap_servers})


@pytest.fixture
async def both(make_bench: MakeBench, own_kafka: LocalKafka) -> BothClusters:
    """The old cluster, which all tests share, with the topics of a bench. The new one has none."""
    old = await make_bench()
    settings = settings_of({**old.environment, "PASSPORT_CHANNELS": CHANNEL})
    environment, servers = old.environment, own_kafka.bootstrap_servers
    return BothClusters(environment, settings, old.workers, old.logs, {CHANNEL: 2}, new_bootstrap_servers=servers)


async def script(bench: Workbench, name: str, *arguments: str) -> None:
    """Run a script with the settings of a bench."""
    await asyncio.to_thread(run_script, name, bench.environment, *arguments)


def commands(bench: Workbench, name: str, count: int) -> list[dict[str, object]]:
    """With idempotency keys."""
    one = tenant(1)
    return [bench.command(one, 1, f"{name}-{n}", key=f"{name}-{n}", partition=n % 2) for n in range(count)]


def publish_in_a_transaction(bench: Workbench) -> None:
    """The offset behind this command is no command, and still the lane is drained."""
    servers = bench.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "transactional.id": bench.dead_letters})
    producer.init_transactions(20)
    producer.begin_transaction()
    command: dict[str, Any] = bench.command(tenant(2), 2, "in a transaction", partition=0)
    producer.produce(bench.settings.topic_commands, **command)
    producer.commit_transaction(20)


async def test_a_move_by_draining_and_a_new_channel(both: BothClusters, tmp_path: Path) -> None:
    """Each command of either cluster has one result. Keys, serial numbers and quotas are the company's on both.

    Signatures name the old topic, and hold on the new one.
    """
    old_log, new_log = tmp_path / "old.log", tmp_path / "new.log"
    audience = both.environment["PASSPORT_SIGNATURE_AUDIENCE"] = both.settings.topic_commands
    await add_signing_key(both, SIGNING)
    of_signing = [both.command(SIGNING, 3, f"signed-{n}", key=f"signed-{n}", partition=0) for n in range(2)]
    sent_signed = [signed(command, signer_of(SIGNING, audience)) for command in of_signing]
    worker = both.start_worker(old_log)
    both.publish(commands(both, "unit", 200))
    both.publish(sent_signed[:1])
    await asyncio.to_thread(publish_in_a_transaction, both)
    await script(both, "kafka-drain.sh")
    assert len(both.results()) == 202
    await script(both.on_new, "kafka-open.sh", CHANNEL)
    both.on_new.start_worker(new_log)
    # A producer that did not see its last answers sends these commands again, to the new cluster.
    both.on_new.publish(commands(both, "unit", 50), CHANNEL)
    both.on_new.publish(commands(both, "more", 100), CHANNEL)
    both.on_new.publish([both.command(tenant(1), 1, "unit-199", key="another", partition=0), *sent_signed], CHANNEL)
    await until(lambda: len(both.results()) == 202 + 153, 60, "all are answered")
    assert both.stop_worker(worker) == 0
    results = await check_invariants(both)
    moved = [one for one in results if one.topic.startswith(f"{CHANNEL}.")]
    assert sum(one.header("idempotency-replayed") == "true" for one in moved) == 51
    assert not [one for one in results if both.label_of(one.topic) == "rejected"]
    (conflict,) = [one for one in moved if both.label_of(one.topic) == "conflict"]
    assert conflict.body["conflict"] == "serial_exists"
    assert '"lane_halted"' not in old_log.read_text() + new_log.read_text()


async def test_a_cluster_that_is_gone_for_good(both: BothClusters, tmp_path: Path) -> None:
    """Its last results were decided and never visible. They are listed, and published on the new cluster.

    Whoever sends all commands again gets one passport for each: the keys hold.
    """
    sent = [*commands(both, "unit", 300), {"value": b"{", "key": b"odd", "partition": 0}]
    both.publish(sent)
    worker = both.start_worker(tmp_path / "old.log", "after COMMIT:3:kill", PASSPORT_BATCH_RECORDS="50")
    await asyncio.to_thread(worker.wait, 30)
    seen = {one.cause for one in both.results()}
    new = both.on_new
    await script(new, "kafka-open.sh", CHANNEL)
    listed = await _listed(both)
    assert listed - seen, "decided and never visible"
    into = ("--channel", "", "--into", CHANNEL, "--rate", "0")
    planned = await ask(new, "replay", *into)
    assert (planned.code, sum(lane["records"] for lane in planned.report["lanes"])) == (0, len(listed))
    for since, expected in (
        ("2026-01-01T00:00:00Z", sum((await _applied(both)).values())),
        ("2999-01-01T00:00:00Z", 0),
    ):
        planned = await ask(new, "replay", *into, "--from", since)
        assert sum(lane["records"] for lane in planned.report["lanes"]) == expected
    assert (await _killed_and_resumed(new, into)).code == 0
    assert {one.cause for one in both.results() if one.topic.startswith(f"{CHANNEL}.")} == listed
    new.start_worker(tmp_path / "new.log")
    new.publish(sent, CHANNEL)
    await until(lambda: len(new.results()) == len(listed) + 301, 60, "all are answered")
    assert (await ask(new, "audit")).code == 0
    account = await account_of(both, map(_as_on_the_old, both.results()))
    undecided = _forget_undecided(account, await _applied(both))
    assert undecided
    await check_account(both, account, reemitted=True)
    assert len(account.created) == 300
    # The old cluster comes back, and its channel is served again.
    both.start_worker(tmp_path / "again.log")
    await until(lambda: undecided <= {one.cause for one in both.results()}, 60, "the rest is answered, too")
    account = await account_of(both, map(_as_on_the_old, both.results()))
    await check_account(both, account, reemitted=True)
    assert len(account.created) == 300


def _as_on_the_old(one: Result) -> Result:
    """A result of the old topic's command, under the name of the old result topic: all else has to be the same."""
    return one if one.cause.startswith(f"{CHANNEL}.") else replace(one, topic=one.topic.removeprefix(f"{CHANNEL}."))


async def _killed_and_resumed(bench: Workbench, into: tuple[str, ...]) -> Told:
    """A replay that dies before its second transaction is visible, and goes on as it was begun."""
    execute = ("--execute", "--reason", "the old cluster burned down")
    environment = {**os.environ, **bench.environment, "TEST_CRASH": "acks:2:kill"}
    crashing = "tests.end_to_end.crashing_worker"
    killed = await asyncio.to_thread(run_forked, crashing, ["replay", *into, *execute], environment)
    assert killed.returncode == -signal.SIGKILL, killed
    connection = await bench.connect()
    id = str(await connection.fetchval("SELECT id FROM operation WHERE verb = 'replay'"))
    await connection.close()
    other = await asyncio.to_thread(run_command, "replay", "--channel", "", "--resume", id, **bench.environment)
    assert (other.returncode, "expected --into two, with which that replay was begun" in other.stderr) == (2, True)
    return await ask(bench, "replay", *into, "--resume", id)


async def _listed(bench: Workbench) -> set[str]:
    """The places that the query lists."""
    query = str(SCRIPTS / "decided-not-visible.sql")
    names = ["-v", f"topic={bench.settings.topic_commands}", "-f", query]
    command = [str(programs_of_wheel() / "psql"), bench.settings.database_url, "--csv", "--tuples-only", *names]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return {"/".join(line.split(",")[:3]) for line in done.stdout.splitlines()}


async def _applied(bench: Workbench) -> dict[str, int]:
    connection = await bench.connect()
    rows = await connection.fetch("SELECT topic || '/' || partition AS place, applied FROM lane")
    await connection.close()
    return {row["place"]: row["applied"] for row in rows}


def _forget_undecided(account: Account, applied: dict[str, int]) -> set[str]:
    """Returns the commands that only the lost cluster had: their producers have to send them again."""
    places = {cause: cause.rpartition("/") for cause in account.asked}
    undecided = {cause for cause, (lane, _, offset) in places.items() if int(offset) >= applied[lane]}
    account.asked -= undecided
    return undecided
