"""`passport-worker keys`: API keys are made, listed, revoked and rotated; what is kept of a key is its hash."""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.store.grants import Right
from worker.tools.common.api_keys import StoredKey, add_key, find_keys, has_company, list_keys, revoke_key
from worker.tools.common.catalogue.file import without_api_keys
from worker.tools.common.catalogue.models import hash_of_key
from worker.tools.common.catalogue.rows import key_values
from worker.tools.common.checked import ask_database, company_unknown
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import operation
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
    """What was typed can be no beginning of a hash; the text does not repeat it, since it may be a key."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that nobody had before, and its hash."""

    text: str
    digest: bytes

    def __repr__(self) -> str:
        """By its hash only."""
        return f"NewKey({self.digest.hex()})"


def new_key() -> NewKey:
    """`tp_` and 32 random bytes, in base64url without padding."""
    text = f"tp_{secrets.token_urlsafe(32)}"
    return NewKey(text, hash_of_key(text))


def prefix_of(text: str) -> str:
    """6 to 64 hexadecimal digits, in lower case. Raises `BadPrefix`."""
    if _PREFIX.fullmatch(text) is None:
        raise BadPrefix("expected 6 to 64 hexadecimal digits, the first of the SHA-256 that `keys list` shows")
    return text.lower()


async def list_all(servers: Servers, company: str | None) -> KeysListReport:
    """The keys of a company, or of all."""

    async def question(database: Inspection) -> list[StoredKey] | Problem:
        if company is not None and not await has_company(database.connection, company):
            return company_unknown(company)
        return await list_keys(database.connection, company)

    found = await ask_database(servers, _READ, question)
    if isinstance(found, Problem):
        return KeysListReport(problems=(found,), keys=())
    return KeysListReport(keys=tuple(_report(one) for one in found))


async def create(servers: Servers, company: str, label: str, reason: str) -> KeysCreateReport:
    """A new key of a company, from now on."""
    made = new_key()
    change = _Change("keys create", reason)

    async def question(database: Inspection) -> StoredKey | Problem:
        if not await has_company(database.connection, company):
            return company_unknown(company)
        arguments = {"company": company, "label": label, "sha256": made.digest.hex()}
        return await change.make(database, arguments, lambda: add_key(database.connection, made.digest, company, label))

    found = change.told(await ask_database(servers, (*_READ, _ADD, *KEEP_OPERATIONS), question))
    if isinstance(found, Problem):
        return KeysCreateReport(problems=(found,), key=None, created=None, line=None)
    created = _report(found)
    return KeysCreateReport(key=made.text, created=created, line=catalogue_line(created))


async def revoke(servers: Servers, prefix: str, at: datetime | None, reason: str) -> KeysRevokeReport:
    """Refuse a key from `at` on, or from now on. A key that is refused earlier stays so."""
    change = _Change("keys revoke", reason)

    async def question(database: Inspection) -> tuple[StoredKey, StoredKey] | Problem:
        before = await _the_key(database, prefix)
        if isinstance(before, Problem):
            return before
        digest = before.digest
        arguments = {"sha256": digest.hex(), "at": at and at.isoformat()}
        return before, await change.make(database, arguments, lambda: revoke_key(database.connection, digest, at))

    found = change.told(await ask_database(servers, (*_READ, _REVOKE, *KEEP_OPERATIONS), question))
    if isinstance(found, Problem):
        return KeysRevokeReport(problems=(found,), revoked=None, changed=False)
    before, after = found
    is_too_late = at is not None and after.revoked_at is not None and after.revoked_at < at
    return KeysRevokeReport(
        problems=(_already_revoked(after, "it stays so"),) if is_too_late else (),
        revoked=_report(after),
        changed=before.revoked_at != after.revoked_at,
    )


async def rotate(servers: Servers, prefix: str, overlap: timedelta, reason: str) -> KeysRotateReport:
    """A new key for the company and the label of another, which is refused once the overlap is over."""
    made = new_key()
    change = _Change("keys rotate", reason)

    async def question(database: Inspection) -> tuple[StoredKey, StoredKey] | Problem:
        old = await _the_key(database, prefix)
        if isinstance(old, Problem):
            return old
        if old.revoked_at is not None:
            return _already_revoked(old, "`keys create` makes another for its company")
        arguments = {"old": old.digest.hex(), "new": made.digest.hex(), "overlapSeconds": overlap.total_seconds()}
        return await change.make(database, arguments, lambda: _replace(database, old, made, overlap))

    found = change.told(await ask_database(servers, (*_READ, _ADD, _REVOKE, *KEEP_OPERATIONS), question))
    if isinstance(found, Problem):
        return KeysRotateReport(problems=(found,), key=None, created=None, line=None, revoked=None)
    new, old = found
    created = _report(new)
    return KeysRotateReport(key=made.text, created=created, line=catalogue_line(created), revoked=_report(old))


def catalogue_line(key: KeyReport) -> dict[str, str]:
    """What a catalogue file says of it. A valid key has no `revokedAt`: a null would take a later revocation back."""
    return key_values(bytes.fromhex(key.sha256), key.label, key.revoked_at)


class _Change:
    """One change that is written down; what is not known of it is said."""

    def __init__(self, verb: str, reason: str) -> None:
        self._verb = verb
        self._reason = without_api_keys(reason)
        self._has_begun = False

    async def make(
        self, database: Inspection, arguments: Mapping[str, Any], effect: Callable[[], Awaitable[Known]]
    ) -> Known:
        async with operation(database, self._verb, self._reason, arguments):
            self._has_begun = True
            return await effect()

    def told(self, found: Known | Problem) -> Known | Problem:
        if not isinstance(found, Problem) or found.code != POSTGRES_AWAY or not self._has_begun:
            return found
        unknown = f"{found.text}. It is not known whether it happened: `passport-worker keys list` tells."
        return found.model_copy(update={"text": unknown})


async def _replace(
    database: Inspection, old: StoredKey, made: NewKey, overlap: timedelta
) -> tuple[StoredKey, StoredKey]:
    async with database.connection.transaction():
        new = await add_key(database.connection, made.digest, old.company_id, old.label)
        revoked = await revoke_key(database.connection, old.digest, None, overlap)
        return new, revoked


async def _the_key(database: Inspection, prefix: str) -> StoredKey | Problem:
    found = await find_keys(database.connection, prefix, _MOST_FOUND)
    if not found:
        return Problem(code=KEY_UNKNOWN, text=f"No API key has a hash that begins with {prefix}.")
    if len(found) > 1:
        some = ", ".join(f"{one.digest.hex()[: len(prefix) + _SHOWN_DIGITS]}… ({one.label})" for one in found)
        more = " and perhaps others" if len(found) == _MOST_FOUND else ""
        text = f"{prefix} begins the hashes of several API keys, {some}{more}: give more digits."
        return Problem(code=KEY_AMBIGUOUS, text=text)
    return found[0]


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
