"""`passport-worker catalogue export`: the database's catalogue as a file; loading it changes nothing."""

import json
from collections.abc import AsyncIterator
from typing import IO, Any

from worker.store.sql import Connection
from worker.tools.catalogue.compare import CATALOGUE_RIGHTS
from worker.tools.catalogue.stored import all_rows
from worker.tools.common.api_keys import has_company
from worker.tools.common.catalogue.rows import CatalogueRow, RowKind, Values
from worker.tools.common.checked import ask_database, company_unknown
from worker.tools.common.inspection import Inspection
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers

_SECTIONS: tuple[tuple[str, RowKind], ...] = (
    ("plans", "plan"),
    ("companies", "company"),
    ("templates", "template"),
    ("products", "product"),
)


async def export(servers: Servers, company: str | None, file: IO[str]) -> Problem | None:
    """Write all of it as JSON in ASCII, a row a line; of one company what it has and uses. What is in the way is told.

    The database is read as of one moment, row after row, so memory stays bounded.
    """

    async def question(database: Inspection) -> Problem | None:
        if company is not None and not await has_company(database.connection, company):
            return company_unknown(company)
        async with database.connection.transaction(isolation="repeatable_read", readonly=True):
            await _write(database.connection, company, file)
        return None

    return await ask_database(servers, CATALOGUE_RIGHTS, question, is_long=True)


async def _write(connection: Connection, company: str | None, file: IO[str]) -> None:
    for number, (section, kind) in enumerate(_SECTIONS):
        file.write(f'{"," if number else "{"}\n"{section}": [')
        rows = _companies(connection, company) if kind == "company" else _values(all_rows(connection, kind, company))
        separator = "\n"
        async for values in rows:
            file.write(separator + json.dumps(values))
            separator = ",\n"
        file.write("\n]")
    file.write("\n}\n")


async def _values(rows: AsyncIterator[CatalogueRow]) -> AsyncIterator[Any]:
    async for row in rows:
        yield row.values


async def _companies(connection: Connection, company: str | None) -> AsyncIterator[Any]:
    """Each with its keys; all come in the same order."""
    api_keys = _Keys(all_rows(connection, "api-key", company))
    signing_keys = _Keys(all_rows(connection, "signing-key", company))
    async for row in all_rows(connection, "company", company):
        own = {"apiKeys": await api_keys.of(row.id), "signingKeys": await signing_keys.of(row.id)}
        yield {**row.values, **{name: keys for name, keys in own.items() if keys}}


class _Keys:
    """Keys by the id of their company, read as far as somebody has asked."""

    def __init__(self, rows: AsyncIterator[CatalogueRow]) -> None:
        self._rows = rows
        self._next: CatalogueRow | None = None

    async def of(self, company_id: str) -> list[Values]:
        """Those of the next company."""
        own = []
        while (key := self._next or await anext(self._rows, None)) is not None and key.company_id == company_id:
            own.append(key.values)
            self._next = None
        self._next = key
        return own
