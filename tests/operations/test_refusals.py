"""`passport-worker refusals`: the newest refusals of every code, by company and outcome, whatever is away."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from confluent_kafka import Producer

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import two_roles
from tests.integration.guards_helpers import changed
from tests.operations.asking import ask
from tests.outcomes import BLOCKED, FULL, GOOD, answer_all
from tests.workbench import Result, Workbench, make_workbench, run_command
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.tools.common.servers import both_servers
from worker.tools.refusals.newest import Bound
from worker.tools.refusals.refusals import Wanted, refusals

pytestmark = pytest.mark.real_kafka

CODES = [
    "malformed-idempotency-key",
    "product-not-found",
    "invalid",
    "unauthorized",
    "unreadable",
    "unreadable",
    "subscription-inactive",
    "daily-writes-spent",
    "dpp-hard-block",
    "overage-required",
    "gtin-registered",
    "serial-exists",
    "idempotency-key-reused",
]
"""Refusals among the commands of `tests.outcomes`, newest first."""


@dataclass
class Refused:
    """A bench on which every outcome has come up, as a reader sees it; the results in the order of their commands."""

    bench: Workbench
    results: list[Result]


@pytest_asyncio.fixture(scope="module")
async def refused(servers: Infrastructure, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Refused]:
    """Refusals of another installation stand among them, and a record that names no command."""
    async with two_roles(servers.database_url) as roles:
        bench = await make_workbench(servers.bootstrap_servers, roles.owner_url, f"refusals-{roles.run}")
        worker = bench.start_worker(tmp_path_factory.mktemp("refusals") / "worker.log")
        results = await answer_all(bench)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        owner = await asyncpg.connect(roles.owner_url)
        hostile = "UPDATE company SET name = E'Full \\x1b[31m' WHERE id = $1"
        await owner.execute(hostile, FULL.company_id)
        await owner.execute("UPDATE company SET name = 'Good & Söhne' WHERE id = $1", GOOD.company_id)
        await owner.close()
        done = await asyncio.to_thread(run_command, "migrate", "--grant-read-to", roles.run, **bench.environment)
        assert done.returncode == 0, done
        await bench.add_channel("acme", 2)
        _publish_others(bench)
        bench.environment["PASSPORT_DATABASE_URL"] = roles.run_url
        yield Refused(bench, results)


def _publish_others(bench: Workbench) -> None:
    topic = bench.settings.result_topics[Kind.REJECTED - 1]
    other = event_of(Answer(0, 0, Kind.REJECTED, "k", b"{}", GOOD.company_id), "other.create", 0)
    producer = Producer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    producer.produce(topic, other.value, other.key, 0, headers=[*other.headers])
    producer.produce(topic, b"\xff", None, 0)
    acme = bench.settings.of_channel("acme")
    body = b'{"error":"Unauthorized","details":{"reason":"wrong-channel"},"status":401}'
    event = event_of(Answer(7, 0, Kind.REJECTED, "k-acme", body, None), acme.topic_commands, 1)
    producer.produce(acme.topic_rejected, event.value, event.key, 1, headers=[*event.headers])
    assert producer.flush(20) == 0


async def test_every_refusal_is_listed_with_what_its_result_says(refused: Refused) -> None:
    """Newest first: code, company with its name, key, GTIN, serial number, and the place that `explain` takes."""
    told = await ask(refused.bench, "refusals")
    assert told.code == 0
    rows = told.report["refusals"]
    rows = [row for row in rows if not row["channel"]]
    assert [row["code"] for row in rows] == CODES
    assert (told.report["reach"], told.report["lookedAt"], told.report["backTo"]) == ("everything", 16, None)
    by_cause = {result.cause: result for result in refused.results}
    for row in rows:
        result = by_cause[row["command"]]
        request: Any = result.body.get("request", {"gs1": {}})
        assert row["key"].encode() == result.key
        assert (row["status"], row["company"]) == (result.body["status"], result.header("ce_companyid"))
        assert row["error"].startswith(str(result.body["error"]))
        assert (row["gtin"], row["serialNumber"]) == (request["gs1"].get("gtin"), request["gs1"].get("serialNumber"))
        assert row["productId"] == request.get("productId")
        assert row["appendedAt"][:19] == (result.header("ce_time") or "")[:19]
        assert (row["name"] is None) is (row["company"] is None)
    assert rows[-1]["name"] == "Good & Söhne"


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        (("--outcome", "conflict"), ["gtin-registered", "serial-exists"]),
        (("--outcome", "serial-exists,invalid"), ["invalid", "serial-exists"]),
        (
            ("--outcome", "conflict", "--outcome", "unreadable"),
            ["unreadable"] * 2 + ["gtin-registered", "serial-exists"],
        ),
        (("--company", FULL.company_id), ["overage-required"]),
        (("--company", BLOCKED.company_id, "--outcome", "dpp-hard-block"), ["dpp-hard-block"]),
        (("--company", FULL.company_id, "--outcome", "conflict"), []),
        (("--since", "1h", "-n", "14"), [*CODES, "unauthorized"]),
    ],
)
async def test_filters_go_together(refused: Refused, arguments: tuple[str, ...], codes: list[str]) -> None:
    """An empty list is an answer, and no error."""
    told = await ask(refused.bench, "refusals", *arguments)
    assert (told.code, [row["code"] for row in told.report["refusals"]]) == (0, codes)


async def test_refusals_of_all_channels_are_listed(refused: Refused) -> None:
    """Those of another channel than the default one have their topic in the place."""
    place = f"acme.{refused.bench.settings.topic_commands}/1/7"
    told = await ask(refused.bench, "refusals", "--outcome", "unauthorized")
    acme = [row for row in told.report["refusals"] if row["channel"] == "acme"]
    assert [(row["command"], row["key"]) for row in acme] == [(place, "k-acme")]
    done = await asyncio.to_thread(run_command, "refusals", "--outcome", "unauthorized", **refused.bench.environment)
    assert place in done.stdout


async def test_a_company_is_found_by_its_name(refused: Refused) -> None:
    """In any case; a name that nobody has is said to be unknown."""
    told = await ask(refused.bench, "refusals", "--company", "good & söhne", "--outcome", "serial-exists")
    assert (told.report["company"], told.report["name"]) == (GOOD.company_id, "Good & Söhne")
    assert [row["code"] for row in told.report["refusals"]] == ["serial-exists"]
    told = await ask(refused.bench, "refusals", "--company", "f" * 24)
    assert (told.code, told.codes, told.report["refusals"]) == (1, ["company-unknown"], [])
    told = await ask(refused.bench, "refusals", "--company", "nobody")
    assert (told.code, told.codes, told.report["refusals"]) == (1, ["company-unknown"], [])


async def test_without_postgres_it_shows_ids(refused: Refused) -> None:
    """Only names are missing, and the exit code says that something is wrong."""
    async with both_servers(changed(refused.bench.settings, database_url="postgresql://localhost:1/x"), 0.5) as servers:
        report = await refusals(servers, Wanted(company=GOOD.company_id), Bound(1000, 10**7, 5.0))
    assert [problem.code for problem in report.problems] == ["postgres-away"]
    assert {(row.company, row.name) for row in report.refusals} == {(GOOD.company_id, None)}


async def test_without_kafka_it_says_so(refused: Refused) -> None:
    """And tells no number of refusals that were looked at."""
    async with both_servers(changed(refused.bench.settings, kafka_bootstrap_servers="localhost:1"), 0.5) as servers:
        report = await refusals(servers, Wanted(), Bound(1000, 10**7, 5.0))
    assert ([problem.code for problem in report.problems], report.refusals) == (["kafka-away"], ())
    async with both_servers(changed(refused.bench.settings, topic_conflict="nowhere"), 0.5) as servers:
        report = await refusals(servers, Wanted(outcomes=("conflict",)), Bound(1000, 10**7, 5.0))
    assert [problem.code for problem in report.problems] == ["topics-missing"]


async def test_people_get_a_table_and_the_next_command(refused: Refused) -> None:
    """No terminal obeys what a record or a name says."""
    done = await asyncio.to_thread(run_command, "refusals", "-n", "14", **refused.bench.environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert re.split(" {2,}", lines[0]) == [
        *("date", "time (UTC)", "company", "company id", "code", "key", "GTIN", "serial", "place"),
    ]
    assert lines[-2].startswith("More about the first one: passport-worker explain 0/")
    assert len(lines) == 1 + 14 + 2
    assert lines[-1].startswith("Looked at ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--outcome", "created"), "--outcome: expected one of overage-required, conflict, rejected, unreadable, "),
        (("-n", "0"), "--limit: expected a number from 1 to 1,000, got 0"),
        (("--since", "now"), "--since: expected a time such as 90m"),
    ],
)
async def test_bad_usage_is_told_with_what_was_expected(arguments: tuple[str, ...], said: str) -> None:
    """Before any server is asked."""
    done = await asyncio.to_thread(run_command, "refusals", *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done
