"""Whether a command can be published again, and what it would be refused for: pure, but for the catalogue's keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from worker.domain.command import ApiKey, DeadLetter, UnreadableRecord
from worker.messages.envelope import Limits, Record, dead_letter, open_envelope, without_excess
from worker.messages.redriven import redriven
from worker.oauth.tokens import stated_expiry
from worker.store.api_keys import find_keys
from worker.store.dead_letters import Redrive
from worker.store.sql import Connection

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
    connection: Connection, original: Record, limits: Limits, now: datetime, *, has_oauth: bool
) -> str | None:
    """Why the new command would be answered with 401, as far as can be told; None where nothing speaks for it."""
    envelope = open_envelope(original, limits)
    credentials = envelope.command.credentials
    if isinstance(credentials, ApiKey):
        keys = await find_keys(connection, credentials.digest.hex(), 1)
        if not keys:
            return "its API key is unknown"
        return f"its API key ({keys[0].label!r}) is revoked" if keys[0].is_revoked else None
    if envelope.token is None:
        return f"it has no credentials that can be known ({credentials})"
    if not has_oauth:
        return "it has an access token, and OAuth is off"
    expires_at = stated_expiry(envelope.token)
    if expires_at is None:
        return "its access token is malformed"
    if expires_at <= now.timestamp():
        return (
            f"its access token has expired, at {datetime.fromtimestamp(max(0.0, expires_at), UTC):%Y-%m-%dT%H:%M:%SZ}"
        )
    return None
