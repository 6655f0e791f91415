"""Names of companies for results, from the database if it answers."""

import asyncio
import time
from collections.abc import Iterable

from worker.domain.command import is_object_id
from worker.settings import Settings
from worker.store.errors import DATABASE_ERRORS, postgres_fault
from worker.tools.cli.errors import Failed
from worker.tools.cli.running import warn
from worker.tools.common.companies import Company, find_company, names_of
from worker.tools.common.connect import CannotConnect, connected_to

_SECONDS = 2.0
_PAUSE_SECONDS = 30.0
_MOST_NAMES = 100_000
_KEPT_SECONDS = 900.0
"""Names are looked up again after this time: `catalogue load` may change them."""


class CompanyNames:
    """Looks names up, and remembers them. Without PASSPORT_DATABASE_URL there are none: `tail` needs no database."""

    def __init__(self, settings: Settings) -> None:
        self.by_id: dict[str, str] = {}
        self._database = settings.database if settings.names_database else None
        self._asked: set[str] = set()
        self._not_before, self._forget_at = 0.0, time.monotonic() + _KEPT_SECONDS
        self._has_warned = False

    async def id_of(self, text: str) -> str:
        """The id of the company with this id or name. Raises `Failed`."""
        if is_object_id(text):
            return text.lower()
        if self._database is None:
            raise Failed("--company: names are in Postgres; set PASSPORT_DATABASE_URL, or give the company's id")
        async with connected_to(self._database) as connection:
            company = await find_company(connection, text)
        if not isinstance(company, Company):
            raise Failed(f"--company: {company.text}")
        return company.id

    async def learn(self, ids: Iterable[str | None]) -> None:
        """Look up names that are not known yet. While Postgres is away, ids have no names."""
        if time.monotonic() >= self._forget_at:
            self._asked.clear()
            self._forget_at = time.monotonic() + _KEPT_SECONDS
        new = {id for id in ids if is_object_id(id)} - self._asked
        # Strangers may invent ids without end, and `tail` may run for weeks, so the memory has a bound.
        if self._database is None or not new or time.monotonic() < self._not_before or len(self._asked) > _MOST_NAMES:
            return
        try:
            async with asyncio.timeout(_SECONDS), connected_to(self._database) as connection:
                self.by_id |= await names_of(connection, new)
                self._asked |= new
        except (CannotConnect, *DATABASE_ERRORS) as error:
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            if not self._has_warned:
                self._has_warned = True
                reason = error if isinstance(error, CannotConnect) else postgres_fault(error, self._database)
                warn(f"names of companies are not shown: {reason}")
