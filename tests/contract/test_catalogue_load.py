"""Loading a catalogue: all of it or nothing, again and again, beside others, and nothing is lost that it leaves out."""

import asyncio
import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.unit.signing_builders import RFC_8037, key_id
from worker.domain.seeding import seed_fields
from worker.store import sql
from worker.store.sql import Connection
from worker.tools.catalogue.load import Loaded, load_catalogue
from worker.tools.common.catalogue.file import CatalogueError, parse_catalogue, read_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.jwk import members_of

EXAMPLE = Path(__file__).parents[2] / "deploy" / "catalogue.example.yaml"
COMPANY, OTHER = "6650a0b1c2d3e4f5a6b7c8d9", "6650a0b1c2d3e4f5a6b7c8da"
TEMPLATE, PRODUCT = "6650a1b2c3d4e5f6a7b8c9d1", "6650a1b2c3d4e5f6a7b8c9d0"
JWK, KID = members_of(RFC_8037.public_key()), key_id(RFC_8037)
PLAN = {"id": "growth", "maxDpps": 100, "overagePriceCents": 75, "maxV1WritesPerDay": 200}


def _catalogue(**sections: object) -> Catalogue:
    return parse_catalogue(json.dumps(sections), ".json")


def _company(company_id: str = COMPANY, **fields: object) -> dict[str, object]:
    return {"_id": company_id, "name": "EuroBat", "plan": "growth", "subscription": "active", **fields}


def _template(**fields: object) -> dict[str, object]:
    return {"_id": TEMPLATE, "category": "battery", "version": 1, "fields": [], **fields}


def _product(**fields: object) -> dict[str, object]:
    return {"_id": PRODUCT, "companyId": COMPANY, "templateId": TEMPLATE, "name": "n", "model": "m", **fields}


async def _rows(connection: Connection, table: str) -> list[dict[str, Any]]:
    """All rows of a table, in the order of its key."""
    return [dict(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1")]


async def _everything(connection: Connection) -> list[list[dict[str, Any]]]:
    tables = ("plan", "company", "api_key", "template", "product", "company_usage")
    return [await _rows(connection, table) for table in tables]


async def test_the_sample_is_loaded_and_counted(connection: Connection) -> None:
    """The published sample goes in as it is; each company gets its counter."""
    catalogue = read_catalogue(EXAMPLE)
    assert await load_catalogue(connection, catalogue) == Loaded(5, 6, 7, 0, 2, 8)
    assert [len(rows) for rows in await _everything(connection)] == [5, 6, 7, 2, 8, 6]
    assert {row["slots_used"] for row in await _rows(connection, "company_usage")} == {0}


async def test_what_was_loaded_is_what_the_worker_reads(connection: Connection) -> None:
    """The worker's own queries find the key's hash and revocation, the plan's limits, and the seeded fields."""
    await load_catalogue(connection, read_catalogue(EXAMPLE))
    digests = [sha256(b"tp_demo_eurobat_mes_1").digest(), sha256(b"tp_demo_eurobat_mes_0").digest()]
    grants = {row["sha256"]: row["revoked_ms"] for row in await connection.fetch(sql.load("api_keys"), digests)}
    assert grants == {digests[0]: None, digests[1]: 1774994400000}
    company = await connection.fetchrow(sql.load("companies"), [COMPANY])
    assert company is not None
    assert tuple(company) == (COMPANY, company["number"], "active", None, None, None, "demo-growth", 5000, 75, 10000)
    product, template, owner = await connection.fetch(sql.load("products"), [PRODUCT], [COMPANY], 1_000_000)
    assert (product["id"], template["id"], owner["company_id"]) == (PRODUCT, None, COMPANY)
    seeded = seed_fields(template["text"], product["text"], owner["text"])
    fields = json.loads(seeded.json)
    assert fields["chemistry"] == {"value": "LFP", "status": "approved", "source": "product"}
    assert fields["batteryCategory"] == {"value": "industrial", "status": "approved", "source": "template"}
    assert fields["manufacturerName"] == {"value": "EuroBat GmbH", "status": "approved", "source": "company"}
    assert fields["recycledCobaltShare"] == {"value": None, "status": "empty"}


@pytest.mark.parametrize("channels", [["acme", "globex"], [""], None], ids=["two", "default", "any"])
async def test_a_company_is_bound_to_the_channels_of_the_file(
    connection: Connection, channels: list[str] | None
) -> None:
    """A file that does not mention them lets the company use any, as null does."""
    for loaded, stored in ((_company(channels=channels), channels), (_company(), None)):
        await load_catalogue(connection, _catalogue(plans=[PLAN], companies=[loaded]))
        company = await connection.fetchrow(sql.load("companies"), [COMPANY])
        assert company is not None
        assert company["channels"] == stored


async def test_a_closed_company_stays_closed_where_a_file_is_silent(connection: Connection) -> None:
    """An old file must not let its commands in again; null opens the company. Workers read it with each key."""

    async def closed() -> object:
        return await connection.fetchval("SELECT closed_at FROM company")

    moment = datetime(2026, 5, 9, 10, 0, 0, 500, UTC)
    closing = _company(closedAt="2026-05-09T12:00:00.0005+02:00", apiKeys=[{"key": "tp_x"}], signingKeys=[{"jwk": JWK}])
    for loaded, stored in (
        (_company(), None),
        (closing, moment),
        (_company(), moment),
        (_company(closedAt=None), None),
    ):
        await load_catalogue(connection, _catalogue(plans=[PLAN], companies=[loaded]))
        assert await closed() == stored
    await load_catalogue(connection, _catalogue(companies=[closing]))
    for query, key in (("companies", COMPANY), ("api_keys", sha256(b"tp_x").digest()), ("signing_keys", KID)):
        (row,) = await connection.fetch(sql.load(query), [key])
        assert row["closed_ms"] == 1_778_320_800_001


async def test_loading_again_changes_nothing(connection: Connection) -> None:
    """The same file twice leaves the same rows."""
    catalogue = read_catalogue(EXAMPLE)
    await load_catalogue(connection, catalogue)
    before = await _everything(connection)
    await load_catalogue(connection, catalogue)
    assert await _everything(connection) == before


async def test_a_company_has_one_number_for_good(connection: Connection) -> None:
    """Four bytes of them have to last: who is loaded every hour takes none again."""
    first, *later = (f"{number:024x}" for number in (7, 9, 8))
    for ids in ([first], [first], [first, *later], [first, *later]):
        companies = [_company(_id=one, apiKeys=[]) for one in ids]
        await load_catalogue(connection, _catalogue(plans=[PLAN], companies=companies))
    numbers = {row["id"]: row["number"] for row in await _rows(connection, "company")}
    assert numbers == {first: 1, f"{8:024x}": 2, f"{9:024x}": 3}
    assert [row["company_number"] for row in await _rows(connection, "company_usage")] == [1, 2, 3]


async def test_a_changed_row_is_changed_in_all_fields(connection: Connection) -> None:
    """An upsert takes every field of the row from the file, those that became null too."""
    key = {"key": "tp_a", "label": "old", "revokedAt": "2026-01-01T00:00:00Z"}
    await load_catalogue(
        connection,
        _catalogue(
            plans=[PLAN],
            companies=[_company(prefill={"a": 1}, apiKeys=[key])],
            templates=[_template(fields=[{"key": "a", "dataType": "string", "defaultValue": "x"}])],
            products=[_product(defaultFieldValues={"a": [1, None, {"é\u0000": 1.5}]})],
        ),
    )
    assert json.loads((await _rows(connection, "product"))[0]["default_field_values"]) == {
        "a": [1, None, {"é\u0000": 1.5}]
    }
    plan = {"id": "growth", "maxDpps": None, "overagePriceCents": 0, "maxV1WritesPerDay": None}
    company = _company(name="New", subscription=None, apiKeys=[{"key": "tp_a", "revokedAt": None}])
    await load_catalogue(
        connection,
        _catalogue(
            plans=[plan],
            companies=[company],
            templates=[_template(category="textile", version=2)],
            products=[_product(name="n2", model="m2")],
        ),
    )
    (plans, companies, keys, templates, products, _) = await _everything(connection)
    assert [tuple(row.values()) for row in (*plans, *companies)] == [
        ("growth", None, 0, None),
        (COMPANY, "New", "growth", None, "{}", None, 1, None, None),
    ]
    assert [tuple(row.values()) for row in keys] == [(sha256(b"tp_a").digest(), COMPANY, "", None)]
    assert [tuple(row.values()) for row in templates] == [(TEMPLATE, "textile", 2, "[]")]
    assert [tuple(row.values()) for row in products] == [(PRODUCT, COMPANY, TEMPLATE, "n2", "m2", "{}")]


async def test_what_the_file_leaves_out_stays(connection: Connection) -> None:
    """A key that the file no longer names stays revoked or good as it was; so do all other rows, and the counters."""
    await load_catalogue(connection, read_catalogue(EXAMPLE))
    await connection.execute("UPDATE company_usage SET slots_used = 17")
    before = await _everything(connection)
    await load_catalogue(connection, _catalogue())
    assert await _everything(connection) == before
    keys = [{"key": "tp_new"}]
    await load_catalogue(connection, _catalogue(companies=[_company(apiKeys=keys, plan="demo-growth")]))
    after = await _everything(connection)
    assert [row for row in after[2] if row["sha256"] != sha256(b"tp_new").digest()] == before[2]
    assert len(after[2]) == len(before[2]) + 1
    assert after[5] == before[5]


async def test_references_may_be_to_rows_of_the_database(connection: Connection) -> None:
    """A file may bring a product alone, for a company and a template that were loaded before."""
    await load_catalogue(connection, _catalogue(plans=[PLAN], companies=[_company()], templates=[_template()]))
    assert await load_catalogue(connection, _catalogue(products=[_product()])) == Loaded(0, 0, 0, 0, 0, 1)


async def test_missing_references_are_reported_together(connection: Connection) -> None:
    """Every reference to nothing is named with its path, and nothing of the file is loaded."""
    catalogue = _catalogue(
        plans=[PLAN],
        companies=[_company(), _company(OTHER, plan="gone")],
        products=[_product(), _product(_id=OTHER, companyId=TEMPLATE)],
    )
    with pytest.raises(CatalogueError) as caught:
        await load_catalogue(connection, catalogue)
    assert caught.value.problems == [
        "companies[1].plan: Expected a plan in file or database, got gone",
        f"products[0].templateId: Expected a template in file or database, got {TEMPLATE}",
        f"products[1].companyId: Expected a company in file or database, got {TEMPLATE}",
        f"products[1].templateId: Expected a template in file or database, got {TEMPLATE}",
    ]
    assert await _everything(connection) == [[], [], [], [], [], []]


async def test_a_key_does_not_change_its_company(connection: Connection) -> None:
    """A key of another company is a problem, told with the others; its owner and everything else stay."""
    await load_catalogue(connection, _catalogue(plans=[PLAN], companies=[_company(apiKeys=[{"key": "tp_a"}])]))
    before = await _everything(connection)
    other = _company(OTHER, plan="gone", apiKeys=[{"key": "tp_b"}, {"key": "tp_a"}])
    with pytest.raises(CatalogueError) as caught:
        await load_catalogue(connection, _catalogue(companies=[other]))
    assert caught.value.problems == [
        "companies[0].plan: Expected a plan in file or database, got gone",
        "companies[0].apiKeys[1]: Expected a key of this company, got one that belongs to another company",
    ]
    assert await _everything(connection) == before


async def test_many_may_load_at_once(database_url: str, connection: Connection) -> None:
    """Loads of the same rows in opposite orders take turns; the last one's rows stand whole."""
    ids = [f"{number:024x}" for number in range(50)]
    forwards = _catalogue(plans=[PLAN], companies=[_company(one, name="forwards") for one in ids])
    backwards = _catalogue(plans=[PLAN], companies=[_company(one, name="backwards") for one in reversed(ids)])
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in range(8)))
    await asyncio.gather(
        *(load_catalogue(one, forwards if at % 2 else backwards) for at, one in enumerate(connections))
    )
    companies = await _rows(connection, "company")
    assert [row["id"] for row in companies] == ids
    assert len({row["name"] for row in companies}) == 1
    assert len(await _rows(connection, "company_usage")) == 50
    await asyncio.gather(*(one.close() for one in connections))


async def test_one_key_for_two_companies_at_once_goes_to_one(database_url: str, connection: Connection) -> None:
    """Of two loads that give the same key to different companies at the same moment, one is refused."""
    await load_catalogue(connection, _catalogue(plans=[PLAN]))
    loads = [_catalogue(companies=[_company(one, apiKeys=[{"key": "tp_a"}])]) for one in (COMPANY, OTHER)]
    connections = await asyncio.gather(*(asyncpg.connect(database_url) for _ in loads))
    results = await asyncio.gather(*map(load_catalogue, connections, loads), return_exceptions=True)
    assert {type(result) for result in results} == {CatalogueError, Loaded}
    assert len(await _rows(connection, "api_key")) == 1
    assert len(await _rows(connection, "company")) == 1
    await asyncio.gather(*(one.close() for one in connections))


async def test_a_load_does_not_wait_for_batches(database_url: str, connection: Connection) -> None:
    """While a batch holds a company's counter the catalogue goes in, and the next statement sees it."""
    catalogue = _catalogue(plans=[PLAN], companies=[_company()])
    await load_catalogue(connection, catalogue)
    other = await asyncpg.connect(database_url, server_settings={"lock_timeout": "2s"})
    async with connection.transaction():
        await connection.fetch(sql.load("lock_companies"), [COMPANY])
        await load_catalogue(other, _catalogue(companies=[_company(subscription="past_due")]))
        company = await connection.fetchrow(sql.load("companies"), [COMPANY])
        assert company is not None
        assert company["subscription"] == "past_due"
    await other.close()


async def test_a_file_that_does_not_speak_of_a_revocation_does_not_undo_it(connection: Connection) -> None:
    """Loading last month's file again must not make a stolen key good; an explicit null does."""

    async def load(**key: object) -> object:
        company = {"_id": "a" * 24, "name": "A", "plan": "p", "subscription": None, "apiKeys": [{"key": "tp_x", **key}]}
        plan = {"id": "p", "maxDpps": None, "overagePriceCents": None, "maxV1WritesPerDay": None}
        await load_catalogue(connection, parse_catalogue(json.dumps({"plans": [plan], "companies": [company]})))
        return await connection.fetchval("SELECT revoked_at IS NOT NULL FROM api_key")

    assert await load(revokedAt="2026-01-01T00:00:00Z") is True
    assert await load() is True
    assert await load(revokedAt=None) is False
