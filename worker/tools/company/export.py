"""`passport-worker company export`: everything that the database has about a company, line by line.

Passports are read in pages, with one statement per page. A cursor would need one transaction for all of them, open as
long as the reader of the lines takes, and workers' tables grow while an old transaction is open.
"""

import json
from collections.abc import Callable
from typing import Any

import asyncpg

from worker.store import sql
from worker.store.frames import Frames, created_body_of
from worker.tools.common.companies import find_company
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Model, Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.company.close import READS
from worker.tools.company.report import ApiKeyLine, ChargeOfPassport, CompanyLine, EndLine, ProductLine, SigningKeyLine

PASSPORT_UNKNOWN, INTERRUPTED = "passport-unknown", "interrupted"

_RIGHTS = (*READS, *reading("product", "passport", "passport_frame", "overage_charge"))
_ROWS_AT_ONCE = 500
_CATALOGUE_ROWS_AT_ONCE = 50
"""Few, since these rows have up to 128 KiB of JSON."""
_JSON_COLUMNS = ("prefill", "jwk", "default_field_values")


class CannotWrite(Exception):
    """The lines cannot be written; the cause says why."""


class CompanyExport:
    """An export. It continues after `last`, the id of the last passport that was written."""

    def __init__(self, company: str, after: str | None, write: Callable[[bytes], object]) -> None:
        self._company, self._write = company, write
        self.last = after
        self.passports = 0
        self._has_begun = False

    async def run(self, servers: Servers) -> Problem | None:
        """Write the lines; those before the passports only if it starts from the beginning. Memory stays bounded."""
        return await ask_database(servers, _RIGHTS, self._export, is_long=True)

    async def _export(self, database: Inspection) -> Problem | None:
        owner = await find_company(database.connection, self._company)
        if isinstance(owner, Problem):
            return owner
        company = await database.connection.fetchrow(sql.load("exported_company", __package__), owner.id)
        assert company is not None, "no company is ever deleted"
        unit: tuple[str, str] = "", ""
        if self.last is not None:
            query = sql.load("unit_of_passport", __package__)
            row = await database.connection.fetchrow(query, company["number"], self.last)
            if row is None:
                return Problem(code=PASSPORT_UNKNOWN, text=f"{owner} has no passport {self.last}.")
            unit = row["gtin"], row["serial"]
        else:
            # `Servers.postgres` asks again after a lost connection. The lines of the catalogue must not come twice.
            if self._has_begun:  # the database went away and came back
                return Problem(
                    code=INTERRUPTED, text="The export was interrupted before its first passport: repeat it."
                )
            self._has_begun = True
            await self._write_catalogue(database, company)
        await self._write_passports(database, company["number"], unit)
        self._write_line(EndLine(passports=self.passports))
        return None

    async def _write_catalogue(self, database: Inspection, company: asyncpg.Record) -> None:
        self._write_line(_line(CompanyLine, company))
        kinds = (("api_keys", ApiKeyLine), ("signing_keys", SigningKeyLine), ("products", ProductLine))
        async with database.connection.transaction(isolation="repeatable_read", readonly=True):
            for name, model in kinds:
                query = sql.load(f"exported_{name}", __package__)
                async for row in database.connection.cursor(query, company["id"], prefetch=_CATALOGUE_ROWS_AT_ONCE):
                    self._write_line(_line(model, row))

    async def _write_passports(self, database: Inspection, number: int, unit: tuple[str, str]) -> None:
        frames, query = Frames(), sql.load("exported_passports", __package__)
        while rows := await database.connection.fetch(query, number, *unit, _ROWS_AT_ONCE):
            for row in rows:  # frame by frame, since a frame may have a megabyte
                body = created_body_of(row["id"], row, await frames.load(database.connection, [row["frame_id"]]))
                self._write_bytes(b'{"kind":"passport","passport":%b,"charge":%b}\n' % (body, _charge(row)))
                self.last = row["id"]
                self.passports += 1
            unit = rows[-1]["gtin"], rows[-1]["serial"]

    def _write_line(self, line: Model) -> None:
        self._write_bytes(line.model_dump_json(by_alias=True).encode() + b"\n")

    def _write_bytes(self, text: bytes) -> None:
        try:
            self._write(text)
        except OSError as error:  # it would look like an error of the database
            raise CannotWrite from error


def _line(model: type[Model], row: asyncpg.Record) -> Model:
    values: dict[str, Any] = dict(row)
    for name in _JSON_COLUMNS:
        if name in values:
            values[name] = json.loads(values[name])
    return model(**values)


def _charge(row: asyncpg.Record) -> bytes:
    if row["price_cents"] is None:
        return b"null"
    charge = ChargeOfPassport(price_cents=row["price_cents"], charged_at=row["charged_at"])
    return charge.model_dump_json(by_alias=True).encode()
