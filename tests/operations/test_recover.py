"""`passport-worker lanes recover`: an old copy of the database is made to hold what was published, and nothing else."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.forked import run_forked
from tests.integration.guards_helpers import expire
from tests.invariants import check_invariants
from tests.operations.asking import Told, ask
from tests.operations.mixture import as_role, contents, copy_database, drop_database, limit_tenants, mixture
from tests.operations.tampering import Records, copied, records_of, with_headers, with_value
from tests.workbench import Result, Workbench, get, tenant, until
from worker.messages.events import uuid5_of_url
from worker.tools.common.rights import READER, RUN
from worker.tools.demo.embedded import free_port

pytestmark = pytest.mark.real_kafka

EXECUTE = ("--execute", "--reason", "restored a backup")


@dataclass
class Damaged:
    """A system whose database was put back: `old` is the copy, and `whole` the database that went on."""

    bench: Workbench
    old: str
    whole: str
    count: int

    async def recover(self, *arguments: str) -> Told:
        """The verb, on the old copy."""
        return await ask(self.bench, "lanes recover", *arguments, PASSPORT_DATABASE_URL=self.old)

    async def is_whole(self) -> bool:
        """Whether both databases hold the same."""
        return await contents(self.old) == await contents(self.whole)


@asynccontextmanager
async def damaged(bench: Workbench, logs: Path, seed: int, *, has_run: bool = True) -> AsyncIterator[Damaged]:
    """Copy the database at a moment of a run, while its worker is killed in the middle of its work; then go on.

    Unless it `has_run`, no worker has ever met the database that is copied.
    """
    before, after = 150, 250
    chance = random.Random(seed)
    await limit_tenants(bench)
    bench.publish(mixture(seed, before))
    if has_run:
        worker = bench.start_worker(logs / "first.log")
        await until(lambda: (logs / "first.log").read_text().count("lane_open") == 2, 30, "open lanes")
        await asyncio.sleep(0.7 * chance.random())
        worker.kill()
        worker.wait()
    old = await copy_database(bench.settings.database_url, "old")
    try:
        worker = bench.start_worker(logs / "second.log")
        bench.publish(mixture(seed, after - 1, before))
        _publish_with_a_marker(bench)
        await bench.wait_for_results(before + after)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        yield Damaged(bench, old, bench.settings.database_url, before + after)
    finally:
        await asyncio.to_thread(bench.kill_workers)
        await drop_database(old)


def _publish_with_a_marker(bench: Workbench) -> None:
    """A command of a transactional producer: the offset behind it is no command."""
    producer = Producer(
        {"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "transactional.id": f"{bench.dead_letters}-tx"}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    command: dict[str, Any] = bench.command(tenant(9), 9, "in a transaction", partition=0)
    producer.produce(bench.settings.topic_commands, **command)
    producer.commit_transaction(20)


SEEDS = int(os.environ.get("RECOVER_SEEDS", "3"))


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.repeat) for seed in range(1, SEEDS))])
async def test_a_copy_holds_afterwards_what_the_whole_database_holds(
    bench: Workbench, tmp_path: Path, seed: int
) -> None:
    """Every table, but for days of rows and epochs; then the workers go on, and every command has one result."""
    async with damaged(bench, tmp_path, seed) as one:
        lost = await ask(bench, "lanes", PASSPORT_DATABASE_URL=one.old)
        assert (lost.code, {lane["state"] for lane in lost.report["lanes"]}) == (1, {"halted"})
        assert all("passport-worker lanes recover" in problem["text"] for problem in lost.report["problems"])
        before = await contents(one.old)
        planned = await one.recover()
        assert (planned.code, planned.report["executed"]) == (0, False)
        assert await contents(one.old) == before, "a dry run writes nothing"
        done = await one.recover(*EXECUTE)
        assert (done.code, done.report["executed"]) == (0, True)
        assert [lane | {"applied": 0} for lane in done.report["lanes"]] == [
            lane | {"applied": 0} for lane in planned.report["lanes"]
        ]
        assert await contents(one.old) == await contents(one.whole)
        bench.environment["PASSPORT_DATABASE_URL"] = one.old
        bench.settings = bench.settings.model_copy(update={"database_url": one.old})
        bench.start_worker(tmp_path / "third.log")
        bench.publish(mixture(seed, 100, one.count))
        await bench.wait_for_results(one.count + 100)
        await check_invariants(bench)
        again = await one.recover()
        assert {lane["commands"] for lane in again.report["lanes"]} == {0}


async def test_a_copy_from_before_the_first_worker_is_recovered(bench: Workbench, tmp_path: Path) -> None:
    """It knows no lane at all: Kafka does, and every lane halts. Recovered are they from their first command on."""
    async with damaged(bench, tmp_path, 8, has_run=False) as one:
        lost = await ask(bench, "lanes", PASSPORT_DATABASE_URL=one.old)
        assert (lost.code, {lane["state"] for lane in lost.report["lanes"]}) == (1, {"halted"})
        assert (await one.recover(*EXECUTE)).code == 0
        assert await contents(one.old) == await contents(one.whole)


async def test_a_group_that_was_forgotten_does_not_hide_lost_commits(bench: Workbench, tmp_path: Path) -> None:
    """Kafka has no offsets, and Postgres an old copy: the results themselves tell how far they were published.

    Seen to fail while no offset was taken for "nothing is published": the worker answered 400 of 400 commands a second
    time, and so it did after `lanes recover` had put all of them back.
    """
    async with damaged(bench, tmp_path, 5) as one:
        _forget_the_group(bench)
        lost = await ask(bench, "lanes", PASSPORT_DATABASE_URL=one.old)
        assert (lost.code, {lane["state"] for lane in lost.report["lanes"]}) == (1, {"halted"})
        halting = tmp_path / "halting.log"
        worker = bench.start_worker(halting, PASSPORT_DATABASE_URL=one.old)
        await until(lambda: halting.read_text().count('"lane_halted"') == 2, 30, "halted lanes")
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        assert len(bench.results()) == one.count
        assert (await one.recover(*EXECUTE)).code == 0
        put_back, whole = await contents(one.old), await contents(one.whole)
        # Only the group's offset tells that the last offset of partition 0 holds a marker: the worker reads it again.
        assert put_back | {"lane": None} == whole | {"lane": None}
        bench.environment["PASSPORT_DATABASE_URL"] = one.old
        bench.settings = bench.settings.model_copy(update={"database_url": one.old})
        bench.start_worker(tmp_path / "third.log")
        bench.publish(mixture(5, 100, one.count))
        await bench.wait_for_results(one.count + 100)
        await asyncio.sleep(1)
        assert len(bench.results()) == one.count + 100, "nothing comes twice"
        await check_invariants(bench)


def _forget_the_group(bench: Workbench) -> None:
    admin = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    group = bench.settings.group_id
    admin.delete_consumer_groups([group], request_timeout=20)[group].result(20)


async def test_killed_at_each_of_its_steps_it_goes_on(bench: Workbench, tmp_path: Path) -> None:
    """In front of and behind COMMIT, in the role of `run`; what was written stays, and nothing is written twice."""
    async with damaged(bench, tmp_path, 3) as one, as_role(one.old, RUN) as old:
        environment = {**os.environ, **bench.environment, "PASSPORT_DATABASE_URL": old}
        for step, number in (("lane lock", 1), ("before COMMIT", 1), ("after COMMIT", 1), ("before COMMIT", 1)):
            done = await asyncio.to_thread(
                run_forked,
                "tests.end_to_end.crashing_worker",
                ["lanes", "recover", *EXECUTE],
                {**environment, "TEST_CRASH": f"{step}:{number}:kill"},
            )
            assert done.returncode == -signal.SIGKILL, (step, done)
        assert (await ask(bench, "lanes recover", *EXECUTE, PASSPORT_DATABASE_URL=old)).code == 0
        assert await contents(one.old) == await contents(one.whole)


async def test_halted_workers_go_on_by_themselves(bench: Workbench, tmp_path: Path) -> None:
    """They were never stopped: every lane halts, is recovered beneath its worker, and is looked at again."""
    async with damaged(bench, tmp_path, 4) as one:
        port = free_port()
        bench.start_worker(tmp_path / "third.log", PASSPORT_DATABASE_URL=one.old, PASSPORT_HTTP_PORT=str(port))
        await until(lambda: get(f"http://127.0.0.1:{port}/readyz")[1].count("halted") == 2, 30, "halted lanes")
        bench.publish(mixture(4, 50, one.count))
        assert (await one.recover(*EXECUTE)).code == 0
        results = await bench.wait_for_results(one.count + 50, 90)
        assert len(results) == one.count + 50
        async with as_role(one.old, READER) as reader:
            assert (await ask(bench, "audit", PASSPORT_DATABASE_URL=reader)).code == 0


class _Refusals:
    """Makes each refusal happen on one damaged system, one after the other, and mends it again."""

    def __init__(self, one: Damaged) -> None:
        self._one, self._bench = one, one.bench
        self._records = records_of(one.bench)
        self._copies = 0

    async def expect(self, code: str, **environment: str) -> None:
        """It is refused for this alone, planned or executed, and the database is as it was."""
        before = await contents(self._one.old)
        for arguments in ((), EXECUTE):
            told = await ask(
                self._bench, "lanes recover", *arguments, PASSPORT_DATABASE_URL=self._one.old, **environment
            )
            assert (told.code, set(told.codes), told.report["executed"]) == (1, {code}, False), (code, told)
            assert {name for lane in told.report["lanes"] for name in lane["refusals"]} == {code}
        assert await contents(self._one.old) == before

    async def tampered(self, code: str, tamper: Callable[[Records], None], *allow: str) -> None:
        """With the records of the topics as `tamper` leaves them."""
        records = {name: list(found) for name, found in self._records.items()}
        tamper(records)
        self._copies += 1
        names = await copied(self._bench, records, f"copy{self._copies}")
        await self.expect(code, **names)
        if allow:
            told = await ask(self._bench, "lanes recover", *allow, PASSPORT_DATABASE_URL=self._one.old, **names)
            assert told.code == 0

    async def with_row(self, code: str, damage: str, mend: str, *arguments: object) -> None:
        """With something in the database that is in the way."""
        await self._execute(damage, *arguments)
        await self.expect(code)
        await self._execute(mend, *arguments)

    async def _execute(self, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self._one.old)
        await connection.execute(statement, *arguments)
        await connection.close()


def _last(records: Records, topic: str, **headers: str) -> tuple[int, Result]:
    """The last record of a topic that has these headers; it is behind what the copy knows."""
    found = records[topic]

    def known(one: Result) -> set[tuple[str, str | None]]:
        return {(key.replace("-", "_"), one.header(key)) for key, _ in one.headers}

    return next(
        (at, found[at])
        for at in reversed(range(len(found)))
        if all((name, value) in known(found[at]) for name, value in headers.items())
    )


async def test_each_refusal_leaves_the_database_as_it_was(bench: Workbench, tmp_path: Path) -> None:
    """What was published and what Postgres holds contradict each other: nothing is guessed."""
    async with damaged(bench, tmp_path, 5) as one:
        refusals = _Refusals(one)
        await _published_refusals(refusals)
        await _database_refusals(refusals, one)
        await _kafka_refusals(refusals, one)


async def _published_refusals(refusals: _Refusals) -> None:
    def drop(records: Records) -> None:
        records["CREATED"].pop(_last(records, "CREATED")[0])

    def differ(records: Records) -> None:
        records["CREATED"].append(with_value(_last(records, "CREATED")[1], b"{}"))

    def contradict(records: Records) -> None:
        at, found = _last(records, "REJECTED")
        records["REJECTED"][at] = with_headers(found, ce_time=b"2026-01-01T00:00:00.000Z")

    def drop_letter(records: Records) -> None:
        records["DEAD_LETTERS"].pop()

    def lose_original(records: Records) -> None:
        at, found = _last(records, "CREATED", idempotency_replayed="true")
        records["CREATED"][at] = with_headers(found, ce_subject=b"f" * 24)

    def name_beyond(records: Records) -> None:
        _, found = _last(records, "REJECTED")
        topic, partition, _ = found.cause.rsplit("/", 2)
        place = f"{topic}/{partition}/99999".encode()
        records["REJECTED"].append(with_headers(found, ce_causationid=place, ce_id=uuid5_of_url(place)))

    def name_a_marker(records: Records) -> None:
        _, found = _last(records, "CREATED", ce_companyid=tenant(9).company_id)
        topic, partition, offset = found.cause.rsplit("/", 2)
        marker = f"{topic}/{partition}/{int(offset) + 1}".encode()
        records["CREATED"].append(with_headers(found, ce_causationid=marker))

    await refusals.tampered("result-missing", drop)
    await refusals.tampered("result-unasked", name_a_marker)
    await refusals.tampered("results-differ", differ)
    await refusals.tampered("result-contradicts", contradict)
    await refusals.tampered("dead-letter-missing", drop_letter)
    await refusals.tampered("original-missing", lose_original, "--allow", "original-missing")
    await refusals.tampered("log-shorter", name_beyond)


async def _database_refusals(refusals: _Refusals, one: Damaged) -> None:
    found = records_of(one.bench)["CREATED"]
    known = {cast(bytes, row[1]).hex() for row in (await contents(one.old))["passport"]}
    lost = next(each for each in reversed(found) if each.header("ce_subject") not in known)
    body = lost.body
    gs1 = cast(dict[str, str], body["gs1"])
    company, passport, gtin, serial = str(body["companyId"]), str(body["_id"]), gs1["gtin"], gs1["serialNumber"]
    insert = (
        f"INSERT INTO passport SELECT now(), decode({{id}}, 'hex'), number, {{gtin}}, {{serial}}, '' "
        f"FROM company WHERE id = '{company}'"
    )
    other = "f" * 24
    await refusals.with_row(
        "passport-exists",
        insert.format(id="$1", gtin="'00000000000000'", serial="'x'"),
        "DELETE FROM passport WHERE id = decode($1, 'hex')",
        passport,
    )
    await refusals.with_row(
        "serial-taken",
        insert.format(id=f"'{other}'", gtin="$1::text", serial="$2::text"),
        "DELETE FROM passport WHERE gtin = $1 AND serial = $2",
        gtin,
        serial,
    )
    await refusals.with_row(
        "gtin-taken",
        f"INSERT INTO gtin_registration VALUES ($1, '{other}') ON CONFLICT (gtin) DO UPDATE SET company_id = '{other}'"
        " WHERE $2::text <> ''",
        "UPDATE gtin_registration SET company_id = $2 WHERE gtin = $1",
        gtin,
        company,
    )
    await refusals.with_row(
        "company-unknown",
        "WITH gone AS (DELETE FROM company_usage USING company c WHERE company_number = c.number AND c.id = $1 "
        "RETURNING company_number, slots_used) "
        "INSERT INTO daily_writes SELECT company_number, '2000-01-01', slots_used + 1 FROM gone",
        "WITH kept AS (DELETE FROM daily_writes WHERE day = '2000-01-01' RETURNING company_number, writes) "
        "INSERT INTO company_usage SELECT company_number, writes - 1 FROM kept WHERE $1 <> ''",
        company,
    )
    await refusals.with_row(
        "ledger-not-empty",
        'INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, value) '
        "SELECT id, applied, now(), 4, false, $1, '{}' FROM lane",
        "DELETE FROM ledger WHERE key = $1",
        "in-the-way",
    )


async def _kafka_refusals(refusals: _Refusals, one: Damaged) -> None:
    settings = one.bench.settings
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": f"{settings.group_id}-tx"}
    )
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.group_id})
    place = TopicPartition(settings.topic_commands, 0, 3)
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([place], consumer.consumer_group_metadata(), 20)
    await refusals.expect("open-transaction")
    producer.abort_transaction(20)
    ends = [consumer.committed([TopicPartition(settings.topic_commands, at)], 20)[0] for at in range(2)]
    applied = {row[2]: row[3] for row in (await contents(one.old))["lane"]}
    for at in range(2):
        commit_offset(one.bench, at, int(str(applied.get(at) or 0)))
    consumer.subscribe([settings.topic_commands])
    deadline = time.monotonic() + 20
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(0.2)
    await refusals.expect("group-active")
    consumer.close()
    for at, end in enumerate(ends):
        commit_offset(one.bench, at, end.offset)
    for at in range(2):
        await expire(one.bench, int(str(applied.get(at) or 0)) + 1, at)
    await refusals.expect("command-expired")


async def test_a_recovery_warns_of_slots_that_it_brings_above_a_plan(bench: Workbench, tmp_path: Path) -> None:
    """The copy has an older, smaller plan. Seen to fail before: only what the copy itself had above it was told."""
    async with damaged(bench, tmp_path, 0, has_run=False) as one:
        connection = await asyncpg.connect(one.old)
        await connection.execute("UPDATE plan SET max_dpps = 1")
        await connection.close()
        assert "1" in str((await one.recover()).report["warnings"])
