"""`passport-worker dead-letters`: lists and shows them, and publishes their commands again, once each."""

import asyncio
import base64
import json
import os
import signal
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.infrastructure.forked import run_forked
from tests.integration.guards_helpers import publish_raw, raw
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.unit.builders import record
from tests.workbench import Result, Workbench, run_command, tenant
from worker.tools.dead_letters.redrive_checks import credentials_warning

pytestmark = pytest.mark.real_kafka

EXECUTE = ("--execute", "--reason", "the limit is raised")
STRICT = {"PASSPORT_LIMIT_HEADERS": "2"}
"""What makes a command of three headers unreadable."""
MANY_HEADERS: list[tuple[str, bytes | None]] = [("x", None), ("y", b"\x1b[31m\xfe")]


def _place(bench: Workbench, partition: int, offset: int) -> str:
    return f"{bench.settings.topic_commands}/{partition}/{offset}"


def _command(bench: Workbench, serial: str, partition: int = 0, **more: Any) -> dict[str, Any]:
    """Unreadable under `STRICT`, and good without."""
    one: dict[str, Any] = {**bench.command(tenant(0), 0, serial), "partition": partition, "key": b"k\x07y", **more}
    one["headers"] = [*one["headers"], *MANY_HEADERS]
    return one


async def _refused(
    bench: Workbench, log: Path, *commands: dict[str, Any], waiting: int = 0, **environment: str
) -> None:
    """Have them, and as many as wait already, answered by a worker of these settings, which is stopped again."""
    before = len(bench.results())
    bench.publish(commands)
    worker = bench.start_worker(log, **(environment or STRICT))
    await bench.wait_for_results(before + waiting + len(commands))
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


async def _answered(bench: Workbench, log: Path) -> dict[str, Result]:
    """All results, by place of their command, once all commands have one; nothing of the promise is broken."""
    commands = len(bench.read([bench.settings.topic_commands]))
    worker = bench.start_worker(log)
    await bench.wait_for_results(commands)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    return {one.cause: one for one in await check_invariants(bench)}


def _repetitions(bench: Workbench, place: str) -> list[Result]:
    """Visible commands that say they repeat it."""
    found = bench.read([bench.settings.topic_commands])
    return [one for one in found if one.headers[-1:] == (("redriven-from", place.encode()),)]


async def test_they_are_listed_newest_first_and_shown_whole(bench: Workbench, tmp_path: Path) -> None:
    """By partition, offset, time and code; nothing of a record reaches a terminal that would obey."""
    bad = [
        {"value": text, "partition": 0, "headers": [("authorization", b"Bearer tp_secret_x")]} for text in (b"{", b"")
    ]
    await _refused(bench, tmp_path / "worker.log", *bad, _command(bench, "a", 1), _command(bench, "b", 1))
    told = await ask(bench, "dead-letters list")
    letters = told.report["deadLetters"]
    assert told.code == 0
    assert [one["appendedAt"] for one in letters] == sorted((one["appendedAt"] for one in letters), reverse=True)
    found = {one["place"]: (one["code"], one["key"], one["company"], one["redriven"]) for one in letters}
    assert found == {
        _place(bench, 0, 0): ("not-json", None, None, None),
        _place(bench, 0, 1): ("empty-value", None, None, None),
        _place(bench, 1, 0): ("too-many-headers", r"k\x07y", None, None),
        _place(bench, 1, 1): ("too-many-headers", r"k\x07y", None, None),
    }
    for arguments, places in (
        (("--limit", "1", "--partition", "1"), [(1, 1)]),
        (("--code", "not-json"), [(0, 0)]),
        (("--partition", "1", "--from", "1"), [(1, 1)]),
        (("--partition", "0", "--to", "1"), [(0, 0)]),
        (("--from", "2100-01-01T00:00:00Z"), []),
        (("--to", "2100-01-01T00:00:00Z", "--code", "empty-value"), [(0, 1)]),
    ):
        some = await ask(bench, "dead-letters list", *arguments)
        assert [one["place"] for one in some.report["deadLetters"]] == [_place(bench, *one) for one in places], (
            arguments
        )
    file = tmp_path / "value"
    told = await ask(bench, "dead-letters show", "1/0", "--output", str(file))
    assert told.report["headers"] == [{"name": "x", "value": None}, {"name": "y", "value": r"\x1b[31m\xfe"}]
    assert file.read_bytes() == bench.command(tenant(0), 0, "a")["value"]
    assert told.report["value"] == file.read_text()
    for command in ("list", "show 1:0", "show 0/0"):
        shown = await asyncio.to_thread(run_command, "dead-letters", *command.split(), **bench.environment)
        assert shown.returncode == 0, shown
        assert not {"\x1b", "\x07"} & set(shown.stdout)
        assert "tp_secret" not in shown.stdout
    none = await ask(bench, "dead-letters show", "1/7")
    assert (none.code, none.codes, none.report["problems"][0]["place"]) == (1, ["no-dead-letter"], _place(bench, 1, 7))


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "nowhere"),
        ("list", "--limit", "0"),
        ("list", "--code", "not-jsn"),
        ("list", "--partition", "9"),
        ("redrive",),
        ("redrive", "--partition", "0"),
        ("redrive", "0/0", "--code", "not-json"),
        ("redrive", "0/0", "--from", "1"),
        ("redrive", "other/0/0"),
        ("redrive", "0/0", "--execute"),
    ],
    ids=" ".join,
)
async def test_bad_usage(bench: Workbench, arguments: tuple[str, ...]) -> None:
    """Exit 2, and what was expected."""
    done = await asyncio.to_thread(run_command, "dead-letters", *arguments, **bench.environment)
    assert done.returncode == 2, done
    assert done.stdout == ""


async def test_servers_away_are_named(bench: Workbench, tmp_path: Path) -> None:
    """By each verb that needs them."""
    away = {"PASSPORT_DATABASE_URL": "postgresql://localhost:1/x"}
    kafka = {"PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}
    told = await asyncio.gather(
        ask(bench, "dead-letters list", **away),
        ask(bench, "dead-letters show", "0/0", **away),
        ask(bench, "dead-letters redrive", "0/0", "--patience", "1", **away),
        ask(bench, "dead-letters redrive", "0/0", "--patience", "1", **kafka),
    )
    assert [one.codes for one in told] == [["postgres-away"]] * 3 + [["kafka-away"]]


async def test_once_it_is_mended_it_is_answered_as_a_new_command(bench: Workbench, tmp_path: Path) -> None:
    """With its key, value and headers, in its partition, once; and once more for --again."""
    commands = [_command(bench, "a", 1), _command(bench, "b", 1), {"value": b"{", "partition": 1, "headers": []}]
    await _refused(bench, tmp_path / "worker.log", *commands)
    place, wanted = _place(bench, 1, 0), ("--code", "too-many-headers", "--partition", "1")
    dry = await ask(bench, "dead-letters redrive", *wanted)
    assert (dry.code, dry.report["executed"], dry.report["operation"], dry.report["warnings"]) == (0, False, None, [])
    assert [one["outcome"] for one in dry.report["redrives"]] == ["to-publish"] * 2
    assert _repetitions(bench, place) == []
    done = await ask(bench, "dead-letters redrive", *wanted, *EXECUTE)
    assert (done.code, done.report["executed"]) == (0, True)
    assert [(one["outcome"], one["times"]) for one in done.report["redrives"]] == [("published", 1)] * 2
    original = bench.read([bench.settings.topic_commands], partitions=[1])[0]
    (again,) = _repetitions(bench, place)
    assert (again.key, again.value, again.partition) == (original.key, original.value, 1)
    assert again.headers == (*original.headers, ("redriven-from", place.encode()))
    assert done.report["redrives"][0]["newPlace"] == _place(bench, 1, again.offset)
    results = await _answered(bench, tmp_path / "worker.log")
    assert bench.label_of(results[place].topic) == "rejected"
    assert bench.label_of(results[_place(bench, 1, again.offset)].topic) == "created"
    listed = await ask(bench, "dead-letters list", *wanted)
    assert {(one["company"], one["name"]) for one in listed.report["deadLetters"]} == {
        (tenant(0).company_id, "Company")
    }
    piped = await asyncio.to_thread(run_command, "dead-letters", "list", *wanted, COLUMNS="20", **bench.environment)
    (line,) = [line for line in piped.stdout.splitlines() if line.startswith(f"{place} ")]
    assert f"{tenant(0).company_id}  Company  as {_place(bench, 1, again.offset)}" in line
    refused = await ask(bench, "dead-letters redrive", *wanted, *EXECUTE)
    assert refused.codes == ["redriven-before"] * 2
    people = await asyncio.to_thread(run_command, "dead-letters", "redrive", *wanted, **bench.environment)
    assert people.stdout.splitlines()[-1] == "2 refused"
    for verb in ("list", "redrive"):
        none = await asyncio.to_thread(run_command, "dead-letters", verb, "--code", "tombstone", **bench.environment)
        expected = {"list": "No dead letters.", "redrive": "No dead letter matches."}[verb]
        assert (none.returncode, none.stdout) == (0, f"{expected}\n")
    twice = await ask(bench, "dead-letters redrive", "1/0", "--again", *EXECUTE)
    assert [(one["outcome"], one["times"]) for one in twice.report["redrives"]] == [("published", 2)]
    assert len(_repetitions(bench, place)) == 2
    listed = await ask(bench, "dead-letters list", "--limit", "1", "--to", "1")
    shown = await ask(bench, "dead-letters show", "1/0")
    assert shown.report["deadLetter"]["company"] == tenant(0).company_id
    assert shown.report["deadLetter"]["name"] == "Company"
    assert listed.report["deadLetters"][0]["redriven"] == shown.report["deadLetter"]["redriven"]
    assert [one["times"] for one in shown.report["redrives"]] == [1, 2]
    assert shown.report["deadLetter"]["redriven"]["place"] == twice.report["redrives"][0]["newPlace"]
    connection = await bench.connect()
    kept = await connection.fetch("SELECT outcome, reason, progress FROM operation ORDER BY begun_at")
    await connection.close()
    assert [tuple(row)[:2] for row in kept] == [("done", "the limit is raised")] * 3
    assert [json.loads(row["progress"]) for row in kept] == [{"published": 2}, {"refused": 2}, {"published": 1}]


def _token(expires_at: float) -> bytes:
    parts = ({"alg": "RS256", "kid": "k"}, {"exp": expires_at})
    coded = (base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts)
    return b"Bearer " + b".".join((*coded, b"c2lnbmF0dXJl"))


async def test_each_refusal_and_each_warning(bench: Workbench, tmp_path: Path) -> None:
    """With a code, a place and a sentence; what is refused is in the way of no other."""

    def by(authorization: bytes, serial: str) -> dict[str, Any]:
        return {**_command(bench, serial), "headers": [("authorization", authorization), *MANY_HEADERS]}

    commands = [
        _command(bench, "expires"),
        {"value": b"{", "partition": 0, "headers": []},
        _command(bench, "good"),
        by(b"Bearer tp_secret_nobody", "unknown"),
        by(tenant(9).authorization, "revoked"),
        by(_token(time.time() - 60), "token"),
        by(_token(time.time() + 60), "later"),
        by(b"Basic x", "basic"),
        _command(bench, "another"),
    ]
    await _refused(bench, tmp_path / "worker.log", *commands)
    connection = await bench.connect()
    revoked = sha256(tenant(9).api_key.encode()).digest()
    await connection.execute("UPDATE api_key SET revoked_at = now() WHERE sha256 = $1", revoked)
    await connection.execute("UPDATE dead_letter SET value = 'other' WHERE \"offset\" = 8")
    await connection.close()
    _delete_before(bench, 0, 1)
    oauth = {"PASSPORT_OAUTH_JWKS": str(tmp_path), "PASSPORT_OAUTH_ISSUER": "i", "PASSPORT_OAUTH_AUDIENCE": "a"}
    told = await ask(bench, "dead-letters redrive", *(f"0/{n}" for n in range(10)), **oauth)
    assert [(one["code"], one["place"]) for one in told.report["problems"]] == [
        ("expired", _place(bench, 0, 0)),
        ("still-unreadable", _place(bench, 0, 1)),
        ("not-the-original", _place(bench, 0, 8)),
        ("no-dead-letter", _place(bench, 0, 9)),
    ]
    assert [one["outcome"] for one in told.report["redrives"]] == [
        *["refused"] * 2,
        *["to-publish"] * 6,
        *["refused"] * 2,
    ]
    warnings = told.report["warnings"]
    assert [one.split(": ", 1)[0] for one in warnings] == [_place(bench, 0, n) for n in (3, 4, 5, 7)]
    for warning, text in zip(
        warnings,
        ("key is unknown", "key ('test') is revoked", "token has expired", "no usable credentials"),
        strict=True,
    ):
        assert text in warning
    off = await ask(bench, "dead-letters redrive", "0/6")
    assert "OAuth is off" in off.report["warnings"][0]
    full = await ask(bench, "dead-letters redrive", "0/2", PASSPORT_LIMIT_HEADERS="3")
    assert full.codes == ["header-too-many"]
    done = await ask(bench, "dead-letters redrive", "0/1", "0/2", *EXECUTE)
    assert (done.code, [one["outcome"] for one in done.report["redrives"]]) == (1, ["refused", "published"])


def _delete_before(bench: Workbench, partition: int, offset: int) -> None:
    """As the retention does."""
    admin = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    for one in admin.delete_records([TopicPartition(bench.settings.topic_commands, partition, offset)]).values():
        one.result(30)


STEPS = (
    "redrive started",
    "redrive row",
    "redrive sent",
    "redrive acknowledged",
    "redrive EndTxn sent",
    "redrive committed",
    "redrive noted",
)


async def _die_at(bench: Workbench, step: str, *arguments: str) -> None:
    """Redrive in a process that kills itself there."""
    environment = {**os.environ, **bench.environment, "TEST_CRASH": f"{step}:1:kill"}
    command = ["dead-letters", "redrive", *arguments, *EXECUTE]
    done = await asyncio.to_thread(run_forked, "tests.end_to_end.crashing_worker", command, environment)
    assert done.returncode == -signal.SIGKILL, (step, done)


async def test_killed_at_each_step_and_run_again_it_is_one_new_command(bench: Workbench, tmp_path: Path) -> None:
    """Also with --again, which an interrupted one does not do twice; and all are answered."""
    commands = [_command(bench, f"u{n}", n % 2) for n in range(2 * len(STEPS))]
    await _refused(bench, tmp_path / "worker.log", *commands)

    async def all_steps(partition: int, *more: str) -> None:
        for offset, step in enumerate(STEPS):
            place, short = _place(bench, partition, offset), f"{partition}/{offset}"
            await _die_at(bench, step, short, *more)
            told = await ask(bench, "dead-letters redrive", short, *EXECUTE, *more)
            assert (told.code, told.codes) == (0, []), (step, told)
            there = step in ("redrive committed", "redrive noted")
            outcome = told.report["redrives"][0]["outcome"]
            assert outcome == ("settled" if there else "published") or step == "redrive EndTxn sent"
            new = told.report["redrives"][0]["newPlace"]
            found = await asyncio.to_thread(_repetitions, bench, place)
            assert [_place(bench, one.partition, one.offset) for one in found] == [new], step

    await asyncio.gather(all_steps(0), all_steps(1, "--again"))
    results = await _answered(bench, tmp_path / "worker.log")
    assert [bench.label_of(one.topic) for one in results.values()].count("created") == 2 * len(STEPS)


async def test_a_range_that_was_interrupted_goes_on(bench: Workbench, tmp_path: Path) -> None:
    """What it has published is not refused and not published twice, also with --again; afterwards it is both."""
    await _refused(bench, tmp_path / "worker.log", *(_command(bench, f"u{n}") for n in range(3)))
    wanted = ("--code", "too-many-headers", "--again")
    await _die_at(bench, "redrive noted", *wanted)
    dry = await ask(bench, "dead-letters redrive", *wanted)
    assert [one["outcome"] for one in dry.report["redrives"]] == ["to-settle", "to-publish", "to-publish"]
    told = await ask(bench, "dead-letters redrive", *wanted, *EXECUTE)
    assert [one["outcome"] for one in told.report["redrives"]] == ["settled", "published", "published"]
    assert [len(_repetitions(bench, _place(bench, 0, n))) for n in range(3)] == [1, 1, 1]
    told = await ask(bench, "dead-letters redrive", *wanted, *EXECUTE)
    assert [one["times"] for one in told.report["redrives"]] == [2, 2, 2]


async def test_a_transaction_of_another_producer_hides_no_repetition(bench: Workbench, tmp_path: Path) -> None:
    """Readers do not see what stands behind one that is open: it is waited for before a redrive is settled."""
    await _refused(bench, tmp_path / "worker.log", _command(bench, "a"))
    servers = bench.settings.kafka_bootstrap_servers
    other = Producer({"bootstrap.servers": servers, "transactional.id": f"{bench.settings.group_id}-other"})
    other.init_transactions(20)
    other.begin_transaction()
    other.produce(bench.settings.topic_commands, b"{}", partition=0)
    other.flush(20)
    await _die_at(bench, "redrive committed", "0/0")
    settling = asyncio.create_task(ask(bench, "dead-letters redrive", "0/0", *EXECUTE))
    done, _ = await asyncio.wait({settling}, timeout=4.0)
    assert not done
    other.abort_transaction(20)
    told = await settling
    assert [one["outcome"] for one in told.report["redrives"]] == ["settled"]
    assert len(_repetitions(bench, _place(bench, 0, 0))) == 1


async def test_two_at_once_publish_one(bench: Workbench, tmp_path: Path) -> None:
    """One may be fenced by the other and says so; run again it is settled."""
    await _refused(bench, tmp_path / "worker.log", _command(bench, "a"))
    both = await asyncio.gather(*(ask(bench, "dead-letters redrive", "0/0", *EXECUTE) for _ in range(2)))
    assert {code for one in both for code in one.codes} <= {"not-published", "redriven-before"}
    last = await ask(bench, "dead-letters redrive", "0/0", *EXECUTE)
    assert set(last.codes) <= {"redriven-before"}
    assert len(_repetitions(bench, _place(bench, 0, 0))) == 1


async def test_a_header_name_that_is_not_utf8_is_refused(bench: Workbench, tmp_path: Path) -> None:
    """No worker reads it today, either."""
    await publish_raw(bench, [raw(bench, 0, ("QQ-name", b"here"))], (b"QQ-name", b"\xff\xfe-name"))
    await _refused(bench, tmp_path / "worker.log", _command(bench, "a", 1), waiting=1)
    told = await ask(bench, "dead-letters redrive", "0/0", *EXECUTE)
    assert (told.codes, told.report["problems"][0]["place"]) == (["header-name-not-utf8"], _place(bench, 0, 0))
    shown = await ask(bench, "dead-letters show", "0/0")
    assert shown.report["headers"] == [{"name": r"\xff\xfe-name", "value": "here"}]


async def test_what_another_group_has_begun_is_left_to_it(bench: Workbench, tmp_path: Path) -> None:
    """Its producer has another id, which is not fenced by ours."""
    await _refused(bench, tmp_path / "worker.log", _command(bench, "a"))
    await _die_at(bench, "redrive row", "0/0")
    connection = await bench.connect()
    await connection.execute('UPDATE operation SET arguments = arguments || \'{"group": "other"}\'')
    await connection.close()
    told = await ask(bench, "dead-letters redrive", "0/0", *EXECUTE)
    assert told.codes == ["begun-by-another-group"]
    listed = await ask(bench, "dead-letters list")
    assert listed.report["deadLetters"][0]["redriven"]["place"] is None


async def test_a_command_of_a_closed_company_is_warned_of(bench: Workbench) -> None:
    """Its keys may be valid, where a catalogue closed it. Seen to fail before: no warning, and the command got 401."""
    owner = tenant(0)
    connection = await bench.connect()
    await connection.execute("UPDATE company SET closed_at = now() WHERE id = $1", owner.company_id)
    original = record(value=b"{}", headers=[("authorization", owner.authorization)])
    warning = await credentials_warning(connection, original, bench.settings, datetime.now(UTC))
    await connection.close()
    assert warning == "its company is closed"
