"""`passport-worker quota show`: what is used of each plan, and who is near an end."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.roles import two_roles
from tests.operations.asking import Told, ask
from tests.workbench import Workbench, add_tenant, run_command, settings_of, tenant
from worker.store import sql
from worker.store.activity import CompanyDay, write_company_days
from worker.tools.common.migrating import migrate

# By the numbers of the tenants: slots, their limit, writes of today, their limit.
USED = (
    (79, 100, 0, None),
    (80, 100, 7, 10),
    (120, 100, 0, 10),
    (5, None, 8, 10),
    (5, None, 3, None),
    (0, 0, 0, None),
    (0, 100, 0, 0),
)
NEAR = [2, 5, 6, 1, 3]
"""Of 80 %, nearest first: a limit of 0 leaves nothing."""


@pytest_asyncio.fixture
async def bench(servers: Infrastructure) -> AsyncIterator[Workbench]:
    """A database of seven companies; Kafka is not asked."""
    async with fresh_database(servers.database_url) as url:
        environment = {"PASSPORT_DATABASE_URL": url, "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}
        made = Workbench(environment, settings_of(environment))
        connection = await made.connect()
        await migrate(connection)
        for number, (slots, limit, writes, of_a_day) in enumerate(USED):
            one = tenant(number)
            await add_tenant(connection, one, max_dpps=limit, overage_price_cents=75, max_writes=of_a_day)
            await connection.execute(
                f"UPDATE company_usage SET slots_used = $2 WHERE company_number = {_NUMBER}", one.company_id, slots
            )
            if writes:
                await connection.execute(
                    f"INSERT INTO daily_writes SELECT {_NUMBER}, (now() AT TIME ZONE 'UTC')::date - day, "
                    "$2 * (day + 1) FROM generate_series(-1, 1) day WHERE day > -1",
                    one.company_id,
                    writes,
                )
        await connection.close()
        yield made


_NUMBER = "(SELECT number FROM company WHERE id = $1)"


def _numbers(told: Told) -> list[int]:
    return [int(one["company"], 16) for one in told.report["quotas"]]


async def _charge(bench: Workbench, when: str, cents: int, count: int = 1) -> None:
    connection = await bench.connect()
    await connection.execute(
        f"INSERT INTO overage_charge SELECT gen_random_uuid()::text::bytea, {_NUMBER}, $2, "
        f"({when}) AT TIME ZONE 'UTC' FROM generate_series(1, $3)",
        tenant(2).company_id,
        cents,
        count,
    )
    await connection.close()


async def test_all_companies_nearest_to_an_end_first(bench: Workbench) -> None:
    """Each with its plan, both limits, and shares where there is a limit."""
    told = await ask(bench, "quota show")
    assert told.code == 0
    assert _numbers(told) == [2, 5, 6, 1, 3, 0, 4]
    by_number: dict[int, dict[str, Any]] = dict(zip(_numbers(told), told.report["quotas"], strict=True))
    assert by_number[1] == {
        "company": tenant(1).company_id,
        "name": "Company",
        "plan": tenant(1).company_id,
        "slotsUsed": 80,
        "slotsLimit": 100,
        "slotsShare": 0.8,
        "writesToday": 7,
        "writesLimit": 10,
        "writesShare": 0.7,
        "charges": 0,
        "chargedCents": 0,
        "answeredToday": 0,
        "refusedToday": 0,
        "closedAt": None,
    }
    assert [by_number[number]["slotsShare"] for number in range(7)] == [0.79, 0.8, 1.2, None, None, 1, 0]
    assert [by_number[number]["writesShare"] for number in range(7)] == [None, 0.7, 0, 0.8, None, None, 1]


async def test_those_that_are_near_an_end(bench: Workbench) -> None:
    """At or above the share, of slots or of today's writes; one company may be asked as well."""
    assert _numbers(await ask(bench, "quota show", "--near", "0.8")) == NEAR
    assert _numbers(await ask(bench, "quota show", "--near", "1")) == NEAR[:3]
    assert _numbers(await ask(bench, "quota show", "--near", "0.79")) == [*NEAR, 0]
    one = await ask(bench, "quota show", tenant(3).company_id.upper(), "--near", "0.8")
    assert (one.code, _numbers(one)) == (0, [3])
    far = await ask(bench, "quota show", tenant(0).company_id, "--near", "0.8")
    assert (far.code, _numbers(far)) == (0, [])


async def test_closed_companies_come_last(bench: Workbench) -> None:
    """Their plans stay full for good. One that closes later is still open.

    Seen to fail before: closed companies filled the console's list of quotas near their end, in front of all others.
    """
    connection = await bench.connect()
    for number, when in ((2, "-1 s"), (5, "1 day")):
        await connection.execute(
            f"UPDATE company SET closed_at = now() + interval '{when}' WHERE id = $1", tenant(number).company_id
        )
    await connection.close()
    assert _numbers(await ask(bench, "quota show", "--near", "0.8")) == [5, 6, 1, 3, 2]


async def test_a_flood_has_a_name(bench: Workbench) -> None:
    """Whom workers refused today, most refused first: the sum over all workers, and none of yesterday's."""
    connection = await bench.connect()
    today = await connection.fetchval(sql.load("today", "worker.tools.quota"))
    for member, day, number, answered, refused in (
        ("a", today, 4, 30_000, 29_000),
        ("b", today, 4, 5, 5),
        ("a", today, 0, 40, 40),
        ("a", today, 1, 7, 0),
        ("a", today - timedelta(days=1), 2, 9, 9),
    ):
        counts = CompanyDay(day, tenant(number).company_id, answered, refused, None)
        await write_company_days(connection, "g", member, [counts])
    await connection.close()
    told = await ask(bench, "quota show", "--refused")
    assert [(int(one["company"], 16), one["answeredToday"], one["refusedToday"]) for one in told.report["quotas"]] == [
        (4, 30_005, 29_005),
        (0, 40, 40),
    ]
    assert _numbers(await ask(bench, "quota show", "--refused", "--near", "0.75")) == [0]
    done = await asyncio.to_thread(run_command, "quota", "show", "--refused", COLUMNS="80", **bench.environment)
    assert [line.rpartition("  ")[2] for line in done.stdout.splitlines()[-2:]] == ["29005 of 30005", "40 of 40"]
    nobody = await asyncio.to_thread(
        run_command, "quota", "show", tenant(2).company_id, "--refused", COLUMNS="80", **bench.environment
    )
    assert (nobody.returncode, nobody.stdout) == (0, "No company has refused commands today.\n")


async def test_charges_are_those_of_the_utc_month(bench: Workbench) -> None:
    """From its first instant, up to the first of the next."""
    month = "date_trunc('month', now() AT TIME ZONE 'UTC')"
    await _charge(bench, month, 75, 2)
    await _charge(bench, f"{month} + interval '1 month' - interval '1 microsecond'", 2_000_000_000, 2)
    await _charge(bench, f"{month} - interval '1 microsecond'", 1)
    await _charge(bench, f"{month} + interval '1 month'", 1)
    connection = await bench.connect()
    await connection.execute(
        f"ALTER DATABASE {bench.settings.database_url.rpartition('/')[2]} SET timezone = 'Asia/Tokyo'"
    )
    await connection.close()
    told = await ask(bench, "quota show", tenant(2).company_id)
    (one,) = told.report["quotas"]
    assert (one["charges"], one["chargedCents"]) == (4, 4_000_000_150)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", told.report["day"])


async def test_what_is_many_is_looked_up_by_index(bench: Workbench) -> None:
    """Of a hundred thousand charges those of one company and month are read, and of the writes those of a day."""
    await _charge(bench, "now() - interval '60 days'", 1, 100_000)
    connection = await bench.connect()
    await connection.execute("ANALYZE")
    today = await connection.fetchval(sql.load("today", "worker.tools.quota"))
    arguments = (tenant(2).company_id, None, today, None, False)
    plan = "\n".join(
        row[0] for row in await connection.fetch(f"EXPLAIN {sql.load('quotas', 'worker.tools.quota')}", *arguments)
    )
    await connection.close()
    assert "overage_charge_company_number_charged_at_idx" in plan, plan
    assert "Seq Scan on overage_charge" not in plan


async def test_what_is_in_the_way_is_told(bench: Workbench, servers: Infrastructure) -> None:
    """An unknown company, a role that may not read charges, a database that is not there."""
    unknown = await ask(bench, "quota show", "f" * 24)
    assert (unknown.code, unknown.codes, unknown.report["day"]) == (1, ["company-unknown"], None)
    gone = await ask(bench, "quota show", PASSPORT_DATABASE_URL=f"{bench.settings.database_url}_gone")
    assert (gone.code, gone.codes) == (1, ["postgres-away"])
    async with two_roles(servers.database_url) as roles:
        owner = {"PASSPORT_DATABASE_URL": roles.owner_url}
        granted = await asyncio.to_thread(run_command, "migrate", "--grant-to", roles.run, **owner)
        assert granted.returncode == 0, granted
        assert (await ask(bench, "quota show", PASSPORT_DATABASE_URL=roles.run_url)).code == 0
        connection = await asyncpg.connect(roles.owner_url)
        await connection.execute(f"REVOKE SELECT ON overage_charge FROM {roles.run}")
        await connection.close()
        told = await ask(bench, "quota show", PASSPORT_DATABASE_URL=roles.run_url)
        assert (told.code, told.codes) == (1, ["postgres-rights"])
        assert f"The role {roles.run} lacks SELECT on table overage_charge" in told.report["problems"][0]["text"]
        assert (await ask(bench, "quota show", **owner)).code == 0


async def test_people_get_a_table(bench: Workbench) -> None:
    """Used of the limit, the share in percent, and charges with their currency. A row is one line at any width."""
    shown = {**bench.environment, "PASSPORT_CURRENCY": "CHF"}
    await _charge(bench, "date_trunc('month', now() AT TIME ZONE 'UTC')", 75, 2)
    done = await asyncio.to_thread(run_command, "quota", "show", "--near", "0.8", COLUMNS="20", **shown)
    assert done.returncode == 0
    rows = done.stdout.splitlines()[-5:]
    assert re.search(
        rf"^{tenant(2).company_id} +Company +\w+ +120 of 100 +120% +0 of 10 +0% +2 +1\.50 CHF +0$", rows[0]
    )
    assert re.search(r"Company +\w+ +5 +- +8 of 10 +80% +0 +0\.00 CHF +0$", rows[4])
    assert (await ask(bench, "quota show")).report["currency"] == "EUR"
    none = await asyncio.to_thread(run_command, "quota", "show", tenant(4).company_id, "--near", "0.9", **shown)
    assert (none.returncode, none.stdout) == (0, "No company has used 90% of a limit.\n")
    connection = await bench.connect()
    await connection.execute(
        "INSERT INTO company SELECT lpad(to_hex(n), 24, 'e'), 'n', (SELECT min(id) FROM plan) "
        "FROM generate_series(4096, 5095) n"
    )
    await connection.close()
    done = await asyncio.to_thread(run_command, "quota", "show", COLUMNS="200", **bench.environment)
    assert done.stdout.splitlines()[-1] == "and 7 more; --json has all of them"


async def test_a_company_is_given_by_its_name(bench: Workbench) -> None:
    """Several of one name are listed with their ids; a name that nobody has is refused with those that are like it."""
    connection = await bench.connect()
    await connection.execute("UPDATE company SET name = 'EuroBat' WHERE id = $1", tenant(3).company_id)
    await connection.close()
    named = await ask(bench, "quota show", "eurobat")
    assert [one["company"] for one in named.report["quotas"]] == [tenant(3).company_id]
    several = await ask(bench, "quota show", "Company")
    assert (several.code, several.codes) == (1, ["company-ambiguous"])
    assert f"Company ({tenant(0).company_id}), " in several.report["problems"][0]["text"]
    near = await ask(bench, "quota show", "Eurobats")
    assert (near.code, near.codes) == (1, ["company-unknown"])
    assert near.report["problems"][0]["text"].endswith(f"Perhaps you mean EuroBat ({tenant(3).company_id}).")
