"""Whether a command can be published again, and what it would be refused for: pure, but for the catalogue's keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from worker.auth.signatures import Verifier
from worker.domain.command import ApiKey, Command, DeadLetter, InvalidBody, Signature, UnreadableRecord
from worker.domain.credentials import authenticate
from worker.domain.outcomes import Unauthorized
from worker.messages.envelope import Limits, Record, dead_letter, open_envelope, without_excess
from worker.settings import Settings
from worker.store.facts import LookUp
from worker.store.sql import Connection
from worker.tools.common.api_keys import find_keys
from worker.tools.common.token_label import label_of
from worker.tools.common.why import SIGNATURE_SENTENCES
from worker.tools.dead_letters.redriven import redriven
from worker.tools.dead_letters.rows import Redrive

EXPIRED = "expired"
NOT_THE_ORIGINAL = "not-the-original"
HEADER_NAME = "header-name-not-utf8"
STILL_UNREADABLE = "still-unreadable"
TOO_MANY_HEADERS = "header-too-many"
REDRIVEN_BEFORE = "redriven-before"
OTHER_GROUP = "begun-by-another-group"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is not published again."""

    code: str
    text: str


class Step(Enum):
    """What there is to do about a command, as the rows of earlier times tell."""

    PUBLISH = "publish"
    SETTLE = "settle"
    """Another redrive has begun, and may have published it."""
    ADOPT = "adopt"
    """A redrive that was interrupted later has published it."""


def step_of(rows: Sequence[Redrive], group_id: str, *, again: bool) -> Step | Refusal:
    """By all earlier times, oldest first.

    What an interrupted redrive has published counts as published by the one that goes on in its place.
    """
    last = rows[-1] if rows else None
    if last is None:
        return Step.PUBLISH
    if last.new_offset is None:
        if last.group_id not in (None, group_id):
            text = f"A redrive of the group {last.group_id} was interrupted: go on with it under PASSPORT_GROUP_ID."
            return Refusal(OTHER_GROUP, text)
        return Step.SETTLE
    if last.is_unfinished:
        return Step.ADOPT
    if again:
        return Step.PUBLISH
    text = f"It was published again as offset {last.new_offset}, by {last.who}: --again does it once more."
    return Refusal(REDRIVEN_BEFORE, text)


def refusal(original: Record | None, letter: DeadLetter, limits: Limits) -> Refusal | None:
    """Why the command cannot be read or repeated today; None where it can."""
    if original is None:
        return Refusal(EXPIRED, "The command topic no longer holds it.")
    if dead_letter(without_excess(original, limits), letter.reason) != letter:
        text = "The command topic has another record here than the dead letter is a copy of: it was made anew."
        return Refusal(NOT_THE_ORIGINAL, text)
    if original.unreadable is not None:
        return Refusal(HEADER_NAME, "A header's name is not UTF-8, which no worker reads.")
    if (found := _unreadable(original, limits)) is not None:
        return Refusal(STILL_UNREADABLE, f"It would be refused again, {found.code}: {found.reason}.")
    if (found := _unreadable(redriven(original), limits)) is not None:
        return Refusal(
            TOO_MANY_HEADERS, f"With the header that is added it is unreadable, {found.code}: {found.reason}."
        )
    return None


def _unreadable(record: Record, limits: Limits) -> UnreadableRecord | None:
    body = open_envelope(record, limits).command.body
    return body if isinstance(body, UnreadableRecord) else None


async def credentials_warning(
    connection: Connection, original: Record, settings: Settings, now: datetime
) -> str | None:
    """Why the new command would be answered with 401, as far as can be told; None where nothing speaks for it."""
    envelope = open_envelope(original, settings.limits, settings.audience)
    credentials = envelope.command.credentials
    if (problem := await _signature_problem(connection, envelope.command, now)) is not None:
        return problem
    if isinstance(credentials, Signature):
        return None
    if isinstance(credentials, ApiKey):
        keys = await find_keys(connection, credentials.digest.hex(), 1)
        if not keys:
            return "its API key is unknown"
        return f"its API key ({keys[0].label!r}) is revoked" if keys[0].is_revoked else None
    if envelope.token is None:
        return f"it has no credentials that can be known ({credentials})"
    if not settings.oauth_jwks:
        return "it has an access token, and OAuth is off"
    expires_at = label_of(envelope.token).expires_at
    if expires_at is None:
        return "its access token is malformed"
    if expires_at <= now.timestamp():
        return (
            f"its access token has expired, at {datetime.fromtimestamp(max(0.0, expires_at), UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
    return None


async def _signature_problem(connection: Connection, command: Command, now: datetime) -> str | None:
    """What the rule says of a signature, or that there has to be one, if the record was appended now."""
    source = command.source._replace(appended_ms=int(now.timestamp() * 1000))
    again = command._replace(source=source, body=InvalidBody({}))
    facts = await LookUp(connection, 0).look_up([again])
    if isinstance(again.credentials, Signature):
        Verifier().prove(again.credentials, source.appended_ms, facts)
    found = authenticate(again, facts)
    if not isinstance(found, Unauthorized) or found.reason is None:
        return None
    sentence = SIGNATURE_SENTENCES[found.reason]
    return f"{found.reason}: {sentence[0].lower()}{sentence[1:-1]}"
