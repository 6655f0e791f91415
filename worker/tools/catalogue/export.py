"""`passport-worker catalogue export`: the database's catalogue as a file. Loading it changes nothing."""

import json
from collections.abc import AsyncIterator
from typing import IO

from worker.store.sql import Connection
from worker.tools.catalogue.compare import CATALOGUE_RIGHTS
from worker.tools.catalogue.stored import all_rows
from worker.tools.common.catalogue.rows import CatalogueRow, RowKind, Values
from worker.tools.common.companies import find_company_id
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers

_SECTIONS: tuple[tuple[str, RowKind], ...] = (
    ("plans", "plan"),
    ("companies", "company"),
    ("templates", "template"),
    ("products", "product"),
)


async def export(servers: Servers, company: str | None, file: IO[str]) -> Problem | None:
    """Write the catalogue, or what one company has and uses, as JSON in ASCII, one row per line.

    The company is given by its id or name. The database is read as of one moment and row by row, so memory stays
    bounded.
    """

    async def question(database: Inspection) -> Problem | None:
        only = await find_company_id(database.connection, company)
        if isinstance(only, Problem):
            return only
        async with database.connection.transaction(isolation="repeatable_read", readonly=True):
            await _write(database.connection, only, file)
        return None

    return await ask_database(servers, CATALOGUE_RIGHTS, question, is_long=True)


async def _write(connection: Connection, company: str | None, file: IO[str]) -> None:
    for number, (section, kind) in enumerate(_SECTIONS):
        file.write(f'{"," if number else "{"}\n"{section}": [')
        api_keys = signing_keys = None
        if kind == "company":  # a company contains its keys, which come in the same order
            api_keys = _KeysByCompany(all_rows(connection, "api-key", company))
            signing_keys = _KeysByCompany(all_rows(connection, "signing-key", company))
        separator = "\n"
        async for row in all_rows(connection, kind, company):
            values = dict(row.values)
            for name, keys in (("apiKeys", api_keys), ("signingKeys", signing_keys)):
                if keys is not None and (company_keys := await keys.of(row.id)):
                    values[name] = company_keys
            file.write(separator + json.dumps(values))
            separator = ",\n"
        file.write("\n]")
    file.write("\n}\n")


class _KeysByCompany:
    """Keys in the order of their companies, read lazily."""

    def __init__(self, rows: AsyncIterator[CatalogueRow]) -> None:
        self._rows = rows
        self._next: CatalogueRow | None = None

    async def of(self, company_id: str) -> list[Values]:
        """The keys of the next company."""
        keys = []
        while (key := self._next or await anext(self._rows, None)) is not None and key.company_id == company_id:
            keys.append(key.values)
            self._next = None
        self._next = key
        return keys
