"""Checks whether a command can be published again, and what would refuse it. Pure, except for the credentials."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum

from worker.auth.signatures import Verifier
from worker.domain.command import ApiKey, DeadLetter, InvalidBody, Signature, UnreadableRecord
from worker.domain.credentials import authenticate
from worker.domain.outcomes import Unauthorized
from worker.messages.envelope import Envelope, Limits, Record, dead_letter, open_envelope, without_excess
from worker.settings import Settings
from worker.store.known_catalogue import KnownCatalogue
from worker.store.look_up import LookUp
from worker.store.sql import Connection
from worker.tools.common.api_keys import find_keys
from worker.tools.common.records import label_of
from worker.tools.common.report import Problem
from worker.tools.common.why import CREDENTIALS_SENTENCES
from worker.tools.dead_letters.publishing import redriven
from worker.tools.dead_letters.rows import Redrive


class Step(Enum):
    """The next step for a command, according to the rows of earlier redrives."""

    PUBLISH = "publish"
    SETTLE = "settle"
    """Another redrive has begun, and may have published it."""
    ADOPT = "adopt"
    """A redrive that was interrupted later has published it."""


def step_of(rows: Sequence[Redrive], group_id: str, *, again: bool) -> Step | Problem:
    """The next step after all earlier redrives of a command, oldest first; a problem if it must not be published.

    A command that an interrupted redrive published counts as published by the redrive that continues it.
    """
    if not rows:
        return Step.PUBLISH
    last = rows[-1]
    if last.new_offset is None:
        if last.group_id in (None, group_id):
            return Step.SETTLE
        # Its producer has another transactional id, which ours does not fence.
        text = f"A redrive of the group {last.group_id} was interrupted: continue it with that PASSPORT_GROUP_ID."
        return Problem(code="begun-by-another-group", text=text)
    if last.is_unfinished:
        return Step.ADOPT
    if again:
        return Step.PUBLISH
    text = f"It was published again as offset {last.new_offset}, by {last.who}. To publish it once more, add --again."
    return Problem(code="redriven-before", text=text)


def refusal_of(original: Record | None, letter: DeadLetter, limits: Limits) -> Problem | None:
    """Why the command cannot be read or repeated today; None if it can."""
    if original is None:
        return Problem(code="expired", text="The command topic no longer holds it.")
    if dead_letter(without_excess(original, limits), letter.reason) != letter:
        text = "The dead letter is a copy of another record than the topic has here: the topic was created again."
        return Problem(code="not-the-original", text=text)
    if original.unreadable is not None:
        return Problem(code="header-name-not-utf8", text="A header's name is not UTF-8, which no worker reads.")
    if (body := _unreadable(original, limits)) is not None:
        return Problem(code="still-unreadable", text=f"It would be refused again, {body.code}: {body.reason}.")
    if (body := _unreadable(redriven(original), limits)) is not None:
        text = f"With the header that is added it is unreadable, {body.code}: {body.reason}."
        return Problem(code="header-too-many", text=text)
    return None


def _unreadable(record: Record, limits: Limits) -> UnreadableRecord | None:
    body = open_envelope(record, limits).command.body
    return body if isinstance(body, UnreadableRecord) else None


async def credentials_warning(
    connection: Connection, original: Record, settings: Settings, now: datetime
) -> str | None:
    """Why the new command would be answered with 401, as far as that can be known; None if nothing suggests it."""
    envelope = open_envelope(original, settings.limits, settings.audience, settings.channel)
    # Rule 2 says what is wrong with a signature or the channel, or that the company requires signatures, as of now.
    source = envelope.command.source._replace(appended_ms=int(now.timestamp() * 1000))
    command = envelope.command._replace(source=source, body=InvalidBody({}))
    credentials = command.credentials
    # An empty memory: a lasting one would need the catalogue's version, which the role of a verb may not read.
    look_up = LookUp(KnownCatalogue(), 0)
    look_up.recall([command])
    facts = await look_up.read(connection)
    if isinstance(credentials, Signature):
        Verifier().prove(credentials, source.appended_ms, facts)
    verdict = authenticate(command, facts)
    if isinstance(verdict, Unauthorized) and verdict.reason is not None:
        sentence = CREDENTIALS_SENTENCES[verdict.reason]
        return f"{verdict.reason}: {sentence[0].lower()}{sentence[1:-1]}"
    # A closed company is refused without a reason. The facts have only the company of these credentials.
    closings = (company.closed_ms for company in facts.companies.values())
    if any(closed_ms is not None and closed_ms <= source.appended_ms for closed_ms in closings):
        return "its company is closed"
    if isinstance(credentials, ApiKey):
        return await _key_warning(connection, credentials)
    return None if isinstance(credentials, Signature) else _token_warning(envelope, settings, now)


async def _key_warning(connection: Connection, key: ApiKey) -> str | None:
    keys = await find_keys(connection, key.digest.hex(), 1)
    if not keys:
        return "its API key is unknown"
    return f"its API key ({keys[0].label!r}) is revoked" if keys[0].is_revoked else None


def _token_warning(envelope: Envelope, settings: Settings, now: datetime) -> str | None:
    if envelope.token is None:
        return f"it has no usable credentials ({envelope.command.credentials})"
    if not settings.oauth_jwks:
        return "it has an access token, but OAuth is off"
    expires_at = label_of(envelope.token).expires_at
    if expires_at is None:
        return "its access token is malformed"
    if expires_at <= now.timestamp():
        expired_at = datetime.fromtimestamp(max(0.0, expires_at), UTC)
        return f"its access token has expired, at {expired_at:%Y-%m-%dT%H:%M:%SZ}"
    return None
