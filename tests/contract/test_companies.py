"""Companies are given by id or name; what fits none or several is refused with those that may be meant."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from worker.store.sql import Connection
from worker.tools.common.companies import Company, find_company, names_of
from worker.tools.common.migrating import migrate
from worker.tools.common.report import Problem

NAMES = ("EuroBat GmbH", "Zellwerk", "Acme", "ACME", "Zwilling", "Zwilling", "Müller & Söhne", f"{1:024x}")
"""The last company has the id of the first one as its name."""
IDS = [f"{number:024x}" for number in range(1, len(NAMES) + 1)]


@pytest_asyncio.fixture(scope="module")
async def connection(servers: Infrastructure) -> AsyncIterator[Connection]:
    """A database that has these companies."""
    async with fresh_database(servers.database_url) as url:
        connection = await asyncpg.connect(url)
        await migrate(connection)
        await connection.execute("INSERT INTO plan (id) VALUES ('p')")
        rows = [(id, name, "p") for id, name in zip(IDS, NAMES, strict=True)]
        await connection.executemany("INSERT INTO company (id, name, plan_id) VALUES ($1, $2, $3)", rows)
        yield connection
        await connection.close()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (IDS[0], 0),
        (IDS[7].upper(), 7),
        ("EuroBat GmbH", 0),
        ("eurobat  gmbh ", 0),
        ("ZELLWERK", 1),
        ("Acme", 2),
        ("ACME", 3),
        ("MÜLLER & SÖHNE", 6),
        ("mu\u0308ller & so\u0308hne", 6),
    ],
)
async def test_a_company_is_found_by_its_id_or_name(connection: Connection, text: str, number: int) -> None:
    """In any case, however an umlaut is encoded. An id goes before a name, and an exact name before others."""
    assert await find_company(connection, text) == Company(IDS[number], NAMES[number])


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("F" * 24, "company-unknown", f"The catalogue has no company {'F' * 24}."),
        (
            "Zwilling",
            "company-ambiguous",
            f'Several companies are named "Zwilling": Zwilling ({IDS[4]}), Zwilling ({IDS[5]}). Give the id.',
        ),
        (
            "acme",
            "company-ambiguous",
            f'Several companies are named "acme": ACME ({IDS[3]}), Acme ({IDS[2]}). Give the id.',
        ),
        (
            "eurobat",
            "company-unknown",
            f'The catalogue has no company named "eurobat". Perhaps you mean EuroBat GmbH ({IDS[0]}).',
        ),
        (
            "Zelwerk",
            "company-unknown",
            f'The catalogue has no company named "Zelwerk". Perhaps you mean Zellwerk ({IDS[1]}).',
        ),
        ("", "company-unknown", 'no company named "". `passport-worker quota show` lists all companies.'),
        ("a\0\ud800", "company-unknown", 'no company named "a\\x00\\ud800".'),
        (f"tp_{'a' * 43}", "company-unknown", 'no company named "tp_…".'),
    ],
)
async def test_the_others_are_refused(connection: Connection, text: str, code: str, said: str) -> None:
    """Candidates are listed with their ids. A key that somebody pasted is not repeated."""
    problem = await find_company(connection, text)
    assert isinstance(problem, Problem)
    assert problem.code == code
    assert said in problem.text


async def test_ids_have_names(connection: Connection) -> None:
    """An id that the catalogue lacks has none."""
    assert await names_of(connection, [IDS[0], IDS[6], IDS[0], "f" * 24]) == {IDS[0]: NAMES[0], IDS[6]: NAMES[6]}
    assert await names_of(connection, []) == {}
