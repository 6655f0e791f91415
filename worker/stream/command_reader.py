"""Records become commands whose credentials are checked: the async part is only fetching public keys."""

import asyncio
from collections.abc import Sequence

from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import KeysUnavailable
from worker.domain.command import AccessToken, Command, NoCredentials
from worker.messages.envelope import Limits, Record, open_envelope

_RECORDS_AT_ONCE = 250
"""Decode at most so many, of whatever lanes, before the event loop goes on: heartbeats must not wait for long."""


class CommandReader:
    """Opens envelopes; `verifier` is None while OAuth is off, and then every access token is unknown."""

    def __init__(self, limits: Limits, verifier: TokenVerifier | None, audience: str | None = None) -> None:
        """`audience` is whom signatures have to be for; None: the records' topic."""
        self._limits, self._audience = limits, audience
        self._verifier = verifier
        self._decoded = 0

    async def commands(self, records: Sequence[Record]) -> list[Command]:
        """One command a record, in order. Raises `KeysUnavailable`: wait, and read the same records again."""
        commands: list[Command] = []
        for record in records:
            self._decoded += 1
            if self._decoded % _RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            envelope = open_envelope(record, self._limits, self._audience)
            if envelope.token is None or self._verifier is None:
                commands.append(envelope.command)
            else:
                verified = await _verified(envelope.token, self._verifier)
                commands.append(envelope.command._replace(credentials=verified))
        return commands


async def _verified(token: str, verifier: TokenVerifier) -> AccessToken | NoCredentials:
    """The token's grant, or why there is none. Raises `KeysUnavailable` as long as the keys are worth waiting for."""
    try:
        granted = await verifier.verify(token)
        if granted is None and verifier.is_of_another_type(token):
            return NoCredentials.OTHER_TOKEN_TYPE
        return granted or NoCredentials.UNKNOWN_TOKEN
    except KeysUnavailable as away:
        if not away.is_given_up:
            raise
        return NoCredentials.KEYS_UNAVAILABLE
