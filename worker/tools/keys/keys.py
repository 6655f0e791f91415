"""`passport-worker keys`: lists, creates, revokes and rotates API keys. Only their hashes are stored."""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.store.grants import Right
from worker.tools.common.api_keys import (
    StoredKey,
    add_key,
    company_unknown,
    find_keys,
    has_company,
    list_keys,
    revoke_key,
)
from worker.tools.common.catalogue.models import hash_of_key
from worker.tools.common.catalogue.rows import key_values
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Author, operation
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import KEEP_OPERATIONS, reading
from worker.tools.common.servers import POSTGRES_AWAY, Known, Servers
from worker.tools.keys.report import KeyReport, KeysCreateReport, KeysListReport, KeysRevokeReport, KeysRotateReport

KEY_UNKNOWN = "key-unknown"
KEY_AMBIGUOUS = "key-ambiguous"
ALREADY_REVOKED = "already-revoked"

_PREFIX = re.compile(r"[0-9a-fA-F]{6,64}")
_READ = reading("company", "api_key")
_ADD = Right("INSERT", None, "TABLE", "api_key")
_REVOKE = Right("UPDATE", "revoked_at", "TABLE", "api_key")
_SHOWN_DIGITS = 16
_MOST_FOUND = 5


class BadPrefix(ValueError):
    """Not the start of a hash. The text does not repeat it, since it may be a key."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key, and its hash."""

    text: str
    digest: bytes

    def __repr__(self) -> str:
        """Show the hash only."""
        return f"NewKey({self.digest.hex()})"


def new_key() -> NewKey:
    """Make a key: `tp_` and 32 random bytes, in base64url without padding."""
    text = f"tp_{secrets.token_urlsafe(32)}"
    return NewKey(text, hash_of_key(text))


def prefix_of(text: str) -> str:
    """6 to 64 hexadecimal digits, in lower case. Raises `BadPrefix`."""
    if _PREFIX.fullmatch(text) is None:
        raise BadPrefix("expected 6 to 64 hexadecimal digits: the start of a SHA-256 that `keys list` shows")
    return text.lower()


async def list_all(servers: Servers, company: str | None) -> KeysListReport:
    """The API keys of a company, or of all companies."""

    async def question(database: Inspection) -> list[StoredKey] | Problem:
        if company is not None and not await has_company(database.connection, company):
            return company_unknown(company)
        return await list_keys(database.connection, company)

    answer = await ask_database(servers, _READ, question)
    if isinstance(answer, Problem):
        return KeysListReport(problems=(answer,), keys=())
    return KeysListReport(keys=tuple(map(_report, answer)))


async def create(servers: Servers, company: str, label: str, author: Author) -> KeysCreateReport:
    """Create a key for a company. It is valid at once."""
    key = new_key()
    change = _RecordedChange("keys create", author)

    async def question(database: Inspection) -> StoredKey | Problem:
        if not await has_company(database.connection, company):
            return company_unknown(company)
        arguments = {"company": company, "label": label, "sha256": key.digest.hex()}
        return await change.make(database, arguments, lambda: add_key(database.connection, key.digest, company, label))

    answer = await change.ask(servers, (*_READ, _ADD), question)
    if isinstance(answer, Problem):
        return KeysCreateReport(problems=(answer,), key=None, created=None, line=None)
    created = _report(answer)
    return KeysCreateReport(key=key.text, created=created, line=catalogue_line(created))


async def revoke(servers: Servers, prefix: str, at: datetime | None, author: Author) -> KeysRevokeReport:
    """Refuse a key from `at` on, or from now on. An earlier revocation stays."""
    change = _RecordedChange("keys revoke", author)

    async def question(database: Inspection) -> tuple[StoredKey, StoredKey] | Problem:
        before = await _find(database, prefix)
        if isinstance(before, Problem):
            return before
        digest = before.digest
        arguments = {"sha256": digest.hex(), "at": at and at.isoformat()}
        return before, await change.make(database, arguments, lambda: revoke_key(database.connection, digest, at))

    answer = await change.ask(servers, (*_READ, _REVOKE), question)
    if isinstance(answer, Problem):
        return KeysRevokeReport(problems=(answer,), revoked=None, changed=False)
    before, after = answer
    was_earlier = at is not None and after.revoked_at is not None and after.revoked_at < at
    return KeysRevokeReport(
        problems=(_already_revoked(after, "it stays so"),) if was_earlier else (),
        revoked=_report(after),
        changed=before.revoked_at != after.revoked_at,
    )


async def rotate(servers: Servers, prefix: str, overlap: timedelta, author: Author) -> KeysRotateReport:
    """Create a key for the company and label of another one, which is refused after the overlap."""
    key = new_key()
    change = _RecordedChange("keys rotate", author)

    async def question(database: Inspection) -> tuple[StoredKey, StoredKey] | Problem:
        old = await _find(database, prefix)
        if isinstance(old, Problem):
            return old
        if old.revoked_at is not None:
            return _already_revoked(old, "`keys create` makes another one for its company")

        async def replace() -> tuple[StoredKey, StoredKey]:
            async with database.connection.transaction():
                new = await add_key(database.connection, key.digest, old.company_id, old.label)
                return new, await revoke_key(database.connection, old.digest, None, overlap)

        arguments = {"old": old.digest.hex(), "new": key.digest.hex(), "overlapSeconds": overlap.total_seconds()}
        return await change.make(database, arguments, replace)

    answer = await change.ask(servers, (*_READ, _ADD, _REVOKE), question)
    if isinstance(answer, Problem):
        return KeysRotateReport(problems=(answer,), key=None, created=None, line=None, revoked=None)
    new, old = answer
    created = _report(new)
    return KeysRotateReport(key=key.text, created=created, line=catalogue_line(created), revoked=_report(old))


def catalogue_line(key: KeyReport) -> dict[str, str]:
    """The key's entry in a catalogue file. A valid key gets no `revokedAt`: null would take a later revocation back."""
    return key_values(bytes.fromhex(key.sha256), key.label, key.revoked_at)


class _RecordedChange:
    """A change with a row in table `operation`. If Postgres goes away meanwhile, the report says that it is unknown."""

    def __init__(self, verb: str, author: Author) -> None:
        self._verb, self._author = verb, author
        self._has_begun = False

    async def make(
        self, database: Inspection, arguments: Mapping[str, Any], effect: Callable[[], Awaitable[Known]]
    ) -> Known:
        async with operation(database.connection, self._verb, self._author, arguments):
            self._has_begun = True
            return await effect()

    async def ask(
        self, servers: Servers, rights: Sequence[Right], question: Callable[[Inspection], Awaitable[Known | Problem]]
    ) -> Known | Problem:
        answer = await ask_database(servers, (*rights, *KEEP_OPERATIONS), question)
        if isinstance(answer, Problem) and answer.code == POSTGRES_AWAY and self._has_begun:
            text = f"{answer.text}. The change may or may not have happened: see `passport-worker keys list`."
            return answer.model_copy(update={"text": text})
        return answer


async def _find(database: Inspection, prefix: str) -> StoredKey | Problem:
    keys = await find_keys(database.connection, prefix, _MOST_FOUND)
    if not keys:
        return Problem(code=KEY_UNKNOWN, text=f"No API key has a hash that begins with {prefix}.")
    if len(keys) > 1:
        some = ", ".join(f"{key.digest.hex()[: len(prefix) + _SHOWN_DIGITS]}… ({key.label})" for key in keys)
        more = " and perhaps others" if len(keys) == _MOST_FOUND else ""
        text = f"The hashes of several API keys begin with {prefix}: {some}{more}. Give more digits."
        return Problem(code=KEY_AMBIGUOUS, text=text)
    return keys[0]


def _already_revoked(key: StoredKey, what_then: str) -> Problem:
    line = catalogue_line(_report(key))
    text = f"The API key {line['sha256'][:_SHOWN_DIGITS]}… is revoked from {line['revokedAt']} on: {what_then}."
    return Problem(code=ALREADY_REVOKED, text=text)


def _report(key: StoredKey) -> KeyReport:
    return KeyReport(
        sha256=key.digest.hex(),
        company=key.company_id,
        label=key.label,
        revoked_at=key.revoked_at,
        state="valid" if key.revoked_at is None else "revoked" if key.is_revoked else "revoked-later",
    )
