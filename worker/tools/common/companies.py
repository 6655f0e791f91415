"""Finds companies by id or by name, as people type them, and the names to show with ids."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.command import is_object_id
from worker.domain.gs1 import UNSAFE_TEXT
from worker.messages.hints import printable
from worker.store import sql
from worker.store.sql import Connection
from worker.tools.common.catalogue.file import without_api_keys
from worker.tools.common.report import Problem

COMPANY_UNKNOWN = "company-unknown"
COMPANY_AMBIGUOUS = "company-ambiguous"
COMPANY_CLOSED = "company-closed"

_MOST_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class Company:
    """A company of the catalogue."""

    id: str
    name: str

    def __str__(self) -> str:
        """Name and id, for people."""
        return printable(f"{self.name} ({self.id})")


async def find_company(connection: Connection, text: str) -> Company | Problem:
    """The company with this id or name; a problem lists those that may be meant.

    An id goes before a name, and an exact name before one in another case. Needs SELECT on `company` (id, name).
    """
    if UNSAFE_TEXT.search(text):  # no name has such characters, and Postgres accepts no NUL
        return Problem(code=COMPANY_UNKNOWN, text=_unknown(text, ()))
    is_id = is_object_id(text)
    if is_id and (names := await names_of(connection, [id := text.lower()])):  # by index: the console asks, too
        return Company(id, names[id])
    companies = [Company(*row) for row in await connection.fetch(sql.load("companies_named", __package__), text)]
    if not companies and not is_id:
        # The database's lower() depends on its locale, so names are compared here. A name is typed seldom.
        everyone = [Company(*row) for row in await connection.fetch(sql.load("all_companies", __package__))]
        companies = [company for company in everyone if _folded(company.name) == _folded(text)]
        if not companies:
            return Problem(code=COMPANY_UNKNOWN, text=_unknown(text, everyone))
    if not companies:
        return Problem(code=COMPANY_UNKNOWN, text=f"The catalogue has no company {text}.")
    if len(companies) > 1:
        text = f"Several companies are named {_quoted(text)}: {_listed(companies)}. Give the id."
        return Problem(code=COMPANY_AMBIGUOUS, text=text)
    return companies[0]


async def find_company_id(connection: Connection, text: str | None) -> str | Problem | None:
    """The id of the company with this id or name, for a verb that also takes all companies: None for None."""
    if text is None:
        return None
    company = await find_company(connection, text)
    return company if isinstance(company, Problem) else company.id


async def names_of(connection: Connection, ids: Iterable[str | None]) -> dict[str, str]:
    """The names of companies by id, with one query. Leaves out None, and ids that the catalogue lacks."""
    if not (wanted := {id for id in ids if id is not None}):
        return {}
    rows = await connection.fetch(sql.load("company_names", __package__), list(wanted))
    return {row["id"]: row["name"] for row in rows}


async def closed_companies(connection: Connection, ids: Iterable[str]) -> dict[str, datetime]:
    """The times from which companies are closed, by id. Leaves out companies without such a time."""
    rows = await connection.fetch(sql.load("closed_companies", __package__), list(ids))
    return {row["id"]: row["closed_at"] for row in rows}


def _unknown(text: str, everyone: Sequence[Company]) -> str:
    """Say that no company has this name, and list those whose names contain the text, or else are spelt like it."""
    typed = _folded(text)
    near = [company for company in everyone if typed and typed in _folded(company.name)]
    if not near:
        spellings = difflib.get_close_matches(typed, {_folded(company.name) for company in everyone}, _MOST_CANDIDATES)
        near = [company for spelling in spellings for company in everyone if _folded(company.name) == spelling]
    advice = f"Perhaps you mean {_listed(near)}." if near else "`passport-worker quota show` lists all companies."
    return f"The catalogue has no company named {_quoted(text)}. {advice}"


def _listed(companies: Sequence[Company]) -> str:
    shown = ", ".join(map(str, companies[:_MOST_CANDIDATES]))
    others = len(companies) - _MOST_CANDIDATES
    return f"{shown} and {others} more" if others > 0 else shown


def _quoted(text: str) -> str:
    return f'"{printable(without_api_keys(text)[:100])}"'


def _folded(name: str) -> str:
    """A name without differences of case, of spaces, and of how letters with accents are encoded."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())
