"""`passport-worker explain`: every outcome by place, each form of address, and why there is no answer."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.integration.guards_helpers import transaction
from tests.operations.asking import ask
from tests.operations.explaining import SECRETS, TOKEN, codes, told
from tests.outcomes import BLOCKED, FULL, GOOD, OTHER, answer_all
from tests.workbench import Result, Workbench, gtin, make_workbench, run_command
from worker.tools.common.address import CompanyKey, PassportId, Serial
from worker.tools.common.rights import READER
from worker.tools.migrate.grants import grant_rights

pytestmark = pytest.mark.real_kafka

HOSTILE = "\x1b[31mred\x07\u202e"

OUTCOMES = [
    ("created", 13),
    ("replayed", 5),
    ("idempotency-key-reused", 5),
    ("serial-exists", 11),
    ("gtin-registered", 10),
    ("created", 13),
    ("overage-required", 12),
    ("created", 13),
    ("created", 13),
    ("dpp-hard-block", 12),
    ("created", 13),
    ("daily-writes-spent", 9),
    ("subscription-inactive", 7),
    ("unreadable", 1),
    ("unreadable", 1),
    ("unauthorized", 2),
    ("invalid", 6),
    ("product-not-found", 8),
    ("malformed-idempotency-key", 4),
    ("created", 13),
]
"""Of the commands of `tests.outcomes`, which stand in partition 0 in this order."""


@dataclass
class Answered:
    """A bench on which every outcome has come up, and nobody works any more; results in the order of their commands."""

    bench: Workbench
    results: list[Result]

    @property
    def topic(self) -> str:
        """Of the commands."""
        return self.bench.settings.topic_commands


@pytest_asyncio.fixture(scope="module")
async def answered(servers: Infrastructure, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Answered]:
    """Partition 0: one command for every outcome. Partition 1: 0 hostile, 1 token, 2 aborted, 3 marker, 4 waiting."""
    async with fresh_database(servers.database_url) as url:
        bench = await make_workbench(servers.bootstrap_servers, url, f"explain-{uuid4().hex[:6]}")
        worker = bench.start_worker(tmp_path_factory.mktemp("explain") / "worker.log")
        results = await answer_all(bench)
        hostile = bench.command(GOOD, 1, "hostile", productId=HOSTILE, partition=1)
        token = bench.command(GOOD, 1, "token", partition=1)
        token["headers"] = [("authorization", f"bearer {TOKEN}".encode())]
        bench.publish([{**hostile, "key": f"{HOSTILE} tp_secret_key".encode()}, token])
        transaction(bench, [bench.command(GOOD, 1, "aborted", partition=1)], commit=False)
        await bench.wait_for_results(len(results) + 2)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        bench.publish([bench.command(GOOD, 1, "waiting", key="k-waiting", partition=1)])
        yield Answered(bench, results)


async def test_every_outcome_by_place(answered: Answered) -> None:
    """The rule that answered, and the result where it stands, with its key and its body."""
    for offset, ((code, rule), result) in enumerate(zip(OUTCOMES, answered.results, strict=True)):
        report = await told(answered.bench, f"0/{offset}")
        assert (report["ok"], report["state"], report["notes"]) == (True, "answered", []), report
        outcome = report["outcome"]
        assert (outcome["code"], outcome["rule"]["number"]) == (code, rule)
        assert outcome["result"] == {"topic": result.topic, "partition": 0, "offset": result.offset}
        assert (outcome["emitted"], outcome["source"], outcome["body"]) == (True, "ledger", result.body)
        assert outcome["key"].encode() == result.key
        assert outcome["event"] == answered.bench.label_of(result.topic)
        assert outcome["status"] == result.body.get("status") if code not in ("created", "replayed") else 201
        assert report["place"] == {"topic": answered.topic, "partition": 0, "offset": offset}
        assert report["command"]["headers"] >= 1


async def test_what_hangs_on_an_answer(answered: Answered) -> None:
    """The key's binding, the charge, the trace, the dead letter, and whose API key it was."""
    created, replayed = [await told(answered.bench, f"0/{offset}") for offset in (0, 1)]
    passport = answered.results[0].body["_id"]
    assert created["binding"]["passportId"] == replayed["binding"]["passportId"] == passport
    assert created["binding"]["companyId"] == GOOD.company_id
    assert created["command"]["idempotencyKey"] == "k-created"
    credentials = created["command"]["credentials"]
    assert (credentials["kind"], credentials["label"], len(credentials["hashDigits"])) == ("api-key", "test", 8)
    assert created["command"]["asked"] == {
        "productId": GOOD.product_id,
        "gtin": gtin(1),
        "serialNumber": "a",
        "confirmOverage": False,
    }
    assert created["lane"] == {"applied": 20, "emitted": 20, "ledgerFrom": 0, "logStart": 0, "logEnd": 20}
    charged = await told(answered.bench, "0/7")
    assert (charged["charge"]["priceCents"], charged["command"]["asked"]["confirmOverage"]) == (75, True)
    unreadable = await told(answered.bench, "0/13")
    assert unreadable["deadLetter"] == {
        "reason": "not-json",
        "record": {"topic": answered.bench.dead_letters, "partition": 0, "offset": 0},
    }
    assert unreadable["command"]["asked"] is None
    assert unreadable["command"]["credentials"]["hashDigits"] is None, "the database does not know the key"
    assert (await told(answered.bench, "0/14"))["deadLetter"]["reason"] == "tombstone"
    structured = await told(answered.bench, "0/19")
    assert structured["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert structured["command"]["asked"]["serialNumber"] == "structured"


async def test_an_access_token_tells_its_key_id_and_expiry(answered: Answered) -> None:
    """And nothing else."""
    report = await told(answered.bench, f"{answered.topic}:1:1")
    assert report["outcome"]["code"] == "unauthorized"
    assert report["command"]["credentials"] == {
        "kind": "access-token",
        "label": None,
        "hashDigits": None,
        "keyId": "key-7",
        "expiresAt": "2030-03-17T17:46:40Z",
        "misfit": None,
    }


async def test_each_form_of_address(answered: Answered) -> None:
    """A passport's id, what stands on the unit, and a company's key lead to the same place."""
    passport = str(answered.results[7].body["_id"])
    for address in (PassportId(passport), Serial(gtin(2), "two"), CompanyKey(FULL.company_id, "k-overage")):
        report = await told(answered.bench, address)
        assert (report["ok"], report["place"]["offset"]) == (True, 7), report
        assert report["outcome"]["passportId"] == passport


async def test_what_was_refused_under_a_key_is_found_by_scan_only(answered: Answered) -> None:
    """The newest, and the others."""
    serial = CompanyKey(GOOD.company_id, "k-serial")
    report = await told(answered.bench, serial)
    assert (report["state"], codes(report), report["place"]) == ("not-found", ["not-found"], None)
    assert "--scan" in report["problems"][0]["text"]
    report = await told(answered.bench, serial, scan=True)
    assert (report["place"]["offset"], report["outcome"]["code"], report["others"]) == (3, "serial-exists", [])
    report = await told(answered.bench, CompanyKey(GOOD.company_id, "k-created"), scan=True)
    assert [report["place"]["offset"], *(one["offset"] for one in report["others"])] == [2, 1, 0]
    report = await told(answered.bench, CompanyKey(OTHER.company_id, "k-created"), scan=True)
    assert report["state"] == "not-found", "another company's key is none of its own"


@pytest.mark.parametrize("scan", [False, True])
async def test_what_is_not_there_is_not_found(answered: Answered, *, scan: bool) -> None:
    """Of each form; a place on another topic is none of a command."""
    for address in (
        PassportId("69272d4e" + "0" * 16),
        PassportId("0" * 24),
        PassportId("f" * 24),
        Serial(gtin(1), "nobody"),
        CompanyKey(BLOCKED.company_id, "nobody"),
        f"{answered.bench.settings.topic_created}/0/0",
    ):
        report = await told(answered.bench, address, scan=scan)
        assert (report["state"], report["command"], report["outcome"]) == ("not-found", None, None)
        assert codes(report) in (["not-found"], ["other-topic"])


async def test_why_there_is_no_answer(answered: Answered) -> None:
    """It waits; it is a marker or was aborted; it is beyond the end."""
    waiting = await told(answered.bench, "1/4")
    assert (waiting["ok"], waiting["state"], waiting["outcome"]) == (True, "waiting", None)
    assert waiting["notes"] == ["The lane decides it next. `passport-worker lanes` shows whether a worker has it."]
    assert waiting["command"]["idempotencyKey"] == "k-waiting"
    for place, state in (("1/2", "no-command"), ("1/3", "no-command"), ("1/5", "beyond-the-end")):
        report = await told(answered.bench, place)
        assert (report["state"], codes(report), report["command"]) == (state, [state], None)
        assert report["problems"][0]["place"] == f"{answered.topic}/{place}"
    report = await told(answered.bench, "7/0")
    assert report["problems"][0]["text"] == "The topic has no partition 7."


async def test_without_postgres_the_results_tell(answered: Answered) -> None:
    """By place and by a passport's id, which is a hash of its place; a key's binding only Postgres knows."""
    away: Any = {"database_url": "postgresql://localhost:1/x", "patience": 1.0}
    for offset, (code, rule) in enumerate(OUTCOMES):
        report = await told(answered.bench, f"0/{offset}", **away)
        assert (report["outcome"]["code"], report["outcome"]["rule"]["number"]) == (code, rule)
        assert (report["outcome"]["source"], codes(report)) == ("result", ["postgres-away"])
    assert (await told(answered.bench, "0/13", **away))["deadLetter"]["reason"] == "not-json"
    assert (await told(answered.bench, "1/4", **away))["state"] == "waiting"
    report = await told(answered.bench, PassportId(str(answered.results[0].body["_id"])), **away)
    assert report["place"]["offset"] == 0
    report = await told(answered.bench, Serial(gtin(1), "a"), **away)
    # Seen to fail before: not-found, of a passport that nobody had looked for.
    assert (report["state"], codes(report)) == ("unknown", ["postgres-away", "unknown"])


async def test_without_kafka_the_ledger_tells(answered: Answered) -> None:
    """Also from a passport to its place, by a search of the ledger."""
    away: Any = {"kafka_bootstrap_servers": "localhost:1", "patience": 1.0}
    report = await told(answered.bench, Serial(gtin(2), "two"), **away)
    assert (report["place"]["offset"], report["outcome"]["code"], codes(report)) == (7, "created", ["kafka-away"])
    assert (report["outcome"]["emitted"], report["outcome"]["result"], report["command"]) == (None, None, None)
    assert (await told(answered.bench, "0/13", **away))["deadLetter"] == {"reason": "not-json", "record": None}
    report = await told(answered.bench, "1/4", **away)
    assert (report["state"], codes(report)) == ("unknown", ["kafka-away", "unknown"])


async def test_a_reader_sees_all_but_whose_api_key_it_was(answered: Answered) -> None:
    """With no other rights."""
    connection = await answered.bench.connect()
    role = f"reader_{uuid4().hex[:6]}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        await grant_rights(connection, role, READER)
        url = answered.bench.settings.database_url
        place = url.split("@")[-1].removeprefix("postgresql://")
        reader: Any = {"database_url": f"postgresql://{role}:x@{place}"}
        for address in ("0/7", Serial(gtin(2), "two"), CompanyKey(FULL.company_id, "k-overage")):
            report = await told(answered.bench, address, **reader)
            assert (report["ok"], report["charge"]["priceCents"]) == (True, 75)
            credentials = report["command"]["credentials"]
            assert (credentials["label"], len(credentials["hashDigits"])) == (None, 8)
        assert (await told(answered.bench, "0/15", **reader))["command"]["credentials"]["hashDigits"] is None
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await connection.close()


async def test_no_big_table_is_read_whole(answered: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every statement goes by a condition on a primary key or on passport_gtin_serial_key."""
    plans: list[dict[str, Any]] = []
    fetch: Any = asyncpg.Connection.fetch

    async def explained(self: Any, query: str, *arguments: object, **options: object) -> Any:
        if any(f" {name}" in query for name in _BIG):
            await self.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
            plan = await fetch(self, f"EXPLAIN (FORMAT JSON) {query}", *arguments)
            plans.extend(one["Plan"] for one in json.loads(plan[0][0]))
        return await fetch(self, query, *arguments, **options)

    async def explained_row(self: Any, query: str, *arguments: object) -> Any:
        return next(iter(await explained(self, query, *arguments)), None)

    monkeypatch.setattr(asyncpg.Connection, "fetch", explained)
    monkeypatch.setattr(asyncpg.Connection, "fetchrow", explained_row)
    passport = str(answered.results[7].body["_id"])
    for address in ("0/7", PassportId(passport), Serial(gtin(2), "two"), CompanyKey(FULL.company_id, "k-overage")):
        assert (await told(answered.bench, address))["ok"]
    await told(answered.bench, PassportId("0" * 24))
    scans = [one for plan in plans for one in _nodes(plan) if _is_big(one.get("Relation Name", ""))]
    assert {one["Relation Name"].split("_2")[0] for one in scans} == {*_BIG}
    for one in scans:
        assert one["Node Type"] in ("Index Scan", "Index Only Scan"), one
        assert "Index Cond" in one, one
        assert one["Index Name"].endswith(("_pkey", "_id_key", "passport_gtin_serial_key", "_offset_key")), one


_BIG = ("ledger", "passport", "passport_frame", "dead_letter", "idempotency_key", "overage_charge")


def _is_big(relation: str) -> bool:
    return relation.startswith(_BIG)


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for one in plan.get("Plans", ()) for node in _nodes(one))]


async def test_people_get_a_story_and_no_escape_sequence(answered: Answered) -> None:
    """From the record to its event; what a record says is escaped."""
    done = await asyncio.to_thread(run_command, "explain", "1/0", COLUMNS="200", **answered.bench.environment)
    assert (done.returncode, done.stderr) == (0, "")
    facts = [re.split(" {2,}", line)[0] for line in done.stdout.splitlines() if "  " in line]
    assert facts == [
        *("fact", "asked for", "command", "appended", "record key", "body", "product", "GTIN", "serial", "credentials"),
        *("company", "company id", "lane", "rule", "outcome", "why", "event", "result", "result key"),
    ]
    assert done.stdout.splitlines()[-1] == (
        f"Others like it: passport-worker refusals --company {GOOD.company_id} --outcome invalid"
    )
    assert json.loads(done.stdout.splitlines()[-2])["status"] == 400, "the body can be copied"
    assert "6: the body is valid: failed" in done.stdout
    assert "productId: Expected 24 hexadecimal digits" in done.stdout
    assert r"\x1b[31mred\x07\u202e" in done.stdout
    assert not {"\x1b", "\x07", "\u202e"} & {*done.stdout}
    assert not [one for one in SECRETS if one in done.stdout]
    typed = ("--gtin", gtin(1), "--serial", "[red]\u202e")
    done = await asyncio.to_thread(run_command, "explain", *typed, **answered.bench.environment)
    assert (done.returncode, r"serial number [red]\u202e" in done.stdout) == (1, True)


async def test_anything_in_hand_is_an_address(answered: Answered) -> None:
    """As in the console's search field; a company by its name, in any case."""
    passport = str(answered.results[7].body["_id"])
    connection = await answered.bench.connect()
    await connection.execute("UPDATE company SET name = 'Full of Cells' WHERE id = $1", FULL.company_id)
    await connection.close()
    for words in (
        [passport],
        [gtin(2), "two"],
        [f"{gtin(2)} two"],
        [f"https://id.tracepass.eu/p/01/{gtin(2)}/21/two"],
        [FULL.company_id, "k-overage"],
        ["full of cells", "k-overage"],
        ["Full", "of", "Cells", "k-overage"],
        ["--company", "Full of Cells", "--key", "k-overage"],
    ):
        one = await ask(answered.bench, "explain", *words)
        assert (one.code, one.report["place"]["offset"]) == (0, 7), words
        assert one.report["outcome"]["companyName"] == "Full of Cells"
    unknown = await ask(answered.bench, "explain", "Full of Cell", "k-overage")
    assert (unknown.code, unknown.codes) == (1, ["not-found"])
    assert f"Perhaps you mean Full of Cells ({FULL.company_id})" in unknown.report["problems"][0]["text"]


async def test_on_the_command_line(answered: Answered) -> None:
    """One JSON document; bad usage is told before a server is asked."""
    one = await ask(answered.bench, "explain", "--gtin", gtin(2), "--serial", "two")
    assert (one.code, one.report["place"]["offset"]) == (0, 7)
    nothing = await ask(answered.bench, "explain", "1/5")
    assert (nothing.code, nothing.codes) == (1, ["beyond-the-end"])
    for arguments in ((), ("7",), ("0/7", "--passport", "0" * 24), ("--gtin", gtin(2)), ("--passport", "x")):
        done = await asyncio.to_thread(run_command, "explain", *arguments, **answered.bench.environment)
        assert (done.returncode, done.stdout) == (2, ""), arguments
