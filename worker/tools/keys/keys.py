"""`passport-worker keys`: lists, creates, revokes and rotates API keys. Only their hashes are stored."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.store.grants import Right
from worker.store.sql import Connection
from worker.tools.common.api_keys import StoredKey, add_key, find_keys, list_keys, lock_key, revoke_key
from worker.tools.common.catalogue.models import hash_of_key
from worker.tools.common.catalogue.rows import time_text
from worker.tools.common.changing import Change
from worker.tools.common.companies import (
    COMPANY_CLOSED,
    Company,
    closed_companies,
    find_company,
    find_company_id,
    names_of,
)
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Author
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers
from worker.tools.keys.report import KeyReport, KeysCreateReport, KeysListReport, KeysRevokeReport, KeysRotateReport

KEY_UNKNOWN = "key-unknown"
KEY_AMBIGUOUS = "key-ambiguous"
ALREADY_REVOKED = "already-revoked"

_READ = reading("company", "api_key")
_ADD = Right("INSERT", None, "TABLE", "api_key")
_REVOKE = Right("UPDATE", "revoked_at", "TABLE", "api_key")
_LOOK = "keys list"
_MOST_FOUND = 5


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key, and its hash."""

    text: str = field(repr=False)
    digest: bytes


def new_key() -> NewKey:
    """Make a key: `tp_` and 32 random bytes, in base64url without padding."""
    text = f"tp_{secrets.token_urlsafe(32)}"
    return NewKey(text, hash_of_key(text))


async def list_all(servers: Servers, company: str | None) -> KeysListReport:
    """The API keys of a company, by its id or name, or of all companies."""

    async def question(database: Inspection) -> KeysListReport | Problem:
        owner = await find_company_id(database.connection, company)
        if isinstance(owner, Problem):
            return owner
        keys = await list_keys(database.connection, owner)
        names = await names_of(database.connection, (key.company_id for key in keys))
        return KeysListReport(keys=tuple(_report(key, names[key.company_id]) for key in keys))

    answer = await ask_database(servers, _READ, question)
    return KeysListReport(problems=(answer,), keys=()) if isinstance(answer, Problem) else answer


async def create(servers: Servers, company: str, label: str, author: Author | None) -> KeysCreateReport:
    """Create a key for a company, given by its id or name. It is valid at once. Without an author, only plan it."""
    change = Change("keys create", author, _READ, (_ADD,), _LOOK)

    async def question(database: Inspection) -> KeysCreateReport | Problem:
        owner = await find_company(database.connection, company)
        if isinstance(owner, Problem):
            return owner
        if (closed := await _closed(database.connection, owner)) is not None:
            return closed
        planned = KeysCreateReport(company=owner.id, name=owner.name, label=label)
        if author is None:
            return planned
        key = new_key()
        arguments = {"company": owner.id, "label": label, "sha256": key.digest.hex()}
        async with change.begun(database, arguments) as begun:
            created = _report(await add_key(database.connection, key.digest, owner.id, label), owner.name)
        return planned.model_copy(update=_as_created(key, created) | change.as_done(begun))

    answer = await change.ask(servers, question)
    return KeysCreateReport(problems=(answer,)) if isinstance(answer, Problem) else answer


async def revoke(servers: Servers, prefix: str, at: datetime | None, author: Author | None) -> KeysRevokeReport:
    """Refuse a key from `at` on, or from now on. An earlier revocation stays. Without an author, only plan it."""
    change = Change("keys revoke", author, _READ, (_REVOKE,), _LOOK)

    async def question(database: Inspection) -> KeysRevokeReport | Problem:
        connection = database.connection
        before = await _find(connection, prefix)
        if isinstance(before, Problem):
            return before
        owner = Company(before.company_id, (await names_of(connection, [before.company_id]))[before.company_id])
        after = await revoke_key(connection, before.digest, at, only_plan=True)
        if at is not None and after.revoked_at is not None and after.revoked_at < at:
            return KeysRevokeReport(
                problems=(_already_revoked(after, "that time stays"),), revoked=_report(after, owner.name)
            )
        warnings = await _warnings(connection, after, owner)
        done: dict[str, Any] = {}
        if author is not None:
            arguments = {"sha256": before.digest.hex(), "at": at and at.isoformat()}
            async with change.begun(database, arguments) as begun:
                after = await revoke_key(connection, before.digest, at)
            done = change.as_done(begun)
        changed = before.revoked_at != after.revoked_at
        return KeysRevokeReport(revoked=_report(after, owner.name), changed=changed, warnings=warnings, **done)

    answer = await change.ask(servers, question)
    return KeysRevokeReport(problems=(answer,)) if isinstance(answer, Problem) else answer


async def rotate(servers: Servers, prefix: str, overlap: timedelta, author: Author | None) -> KeysRotateReport:
    """Create a key for the company and label of another one, which is refused after the overlap.

    Without an author, only plan it.
    """
    change = Change("keys rotate", author, _READ, (_ADD, _REVOKE), _LOOK)

    async def question(database: Inspection) -> KeysRotateReport | Problem:
        connection = database.connection
        old = await _find(connection, prefix)
        if isinstance(old, Problem):
            return old
        if old.revoked_at is not None:
            return _already_revoked(old, "`keys create` makes another one for its company")
        name = (await names_of(connection, [old.company_id]))[old.company_id]
        if (closed := await _closed(connection, Company(old.company_id, name))) is not None:
            return closed
        planned = KeysRotateReport(
            company=old.company_id,
            name=name,
            label=old.label,
            revoked=_report(await revoke_key(connection, old.digest, None, overlap, only_plan=True), name),
        )
        if author is None:
            return planned
        key = new_key()
        arguments = {"old": old.digest.hex(), "new": key.digest.hex(), "overlapSeconds": overlap.total_seconds()}
        # The row of the operation is written outside the transaction: it stays if the change fails.
        async with change.begun(database, arguments) as begun, connection.transaction(isolation="read_committed"):
            # Another operator may have rotated it since the look above.
            if (overtaken := await lock_key(connection, old.digest)).revoked_at is not None:
                return _already_revoked(overtaken, "`keys create` makes another one for its company")
            created = _report(await add_key(connection, key.digest, old.company_id, old.label), name)
            revoked = _report(await revoke_key(connection, old.digest, None, overlap), name)
        update = {"revoked": revoked} | _as_created(key, created) | change.as_done(begun)
        return planned.model_copy(update=update)

    answer = await change.ask(servers, question)
    return KeysRotateReport(problems=(answer,)) if isinstance(answer, Problem) else answer


def catalogue_line(key: KeyReport) -> dict[str, str]:
    """The key's entry in a catalogue file. A valid key gets no `revokedAt`: null would undo a later revocation."""
    revoked = {} if key.revoked_at is None else {"revokedAt": time_text(key.revoked_at)}
    return {"sha256": key.sha256, "label": key.label, **revoked}


def _as_created(key: NewKey, created: KeyReport) -> dict[str, Any]:
    """Fields of a report on a key that was created."""
    return {"key": key.text, "created": created, "line": catalogue_line(created)}


async def _warnings(connection: Connection, revoked: StoredKey, owner: Company) -> tuple[str, ...]:
    """Warn if the company is left without an API key: it may have no other way to send commands."""
    for key in await list_keys(connection, owner.id):
        if key.digest != revoked.digest and (
            key.revoked_at is None or (revoked.revoked_at is not None and key.revoked_at > revoked.revoked_at)
        ):
            return ()
    return (f"{owner} has no other valid API key: from then on, its commands need a signature or an access token.",)


async def _closed(connection: Connection, owner: Company) -> Problem | None:
    """The problem that a closed company gets no new key; None if it is open."""
    closed_at = (await closed_companies(connection, [owner.id])).get(owner.id)
    if closed_at is None or closed_at > datetime.now(UTC):
        return None
    return Problem(code=COMPANY_CLOSED, text=f"{owner} is closed: its commands get 401, whatever its keys.")


async def _find(connection: Connection, prefix: str) -> StoredKey | Problem:
    keys = await find_keys(connection, prefix, _MOST_FOUND)
    if not keys:
        return Problem(code=KEY_UNKNOWN, text=f"No API key has a hash that begins with {prefix}.")
    if len(keys) > 1:
        some = ", ".join(f"{key.digest.hex()} ({key.label})" for key in keys)
        more = " and perhaps others" if len(keys) == _MOST_FOUND else ""
        text = f"The hashes of several API keys begin with {prefix}: {some}{more}. Give more digits."
        return Problem(code=KEY_AMBIGUOUS, text=text)
    return keys[0]


def _already_revoked(key: StoredKey, what_then: str) -> Problem:
    since = catalogue_line(_report(key, ""))["revokedAt"]
    text = f"The API key {key.digest.hex()} is revoked from {since} on: {what_then}."
    return Problem(code=ALREADY_REVOKED, text=text)


def _report(key: StoredKey, name: str) -> KeyReport:
    return KeyReport(
        sha256=key.digest.hex(),
        company=key.company_id,
        name=name,
        label=key.label,
        revoked_at=key.revoked_at,
        state="valid" if key.revoked_at is None else "revoked" if key.is_revoked else "revoked-later",
    )
