"""Records become commands whose credentials are checked: the async part is only fetching public keys."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from worker.domain.command import Command, NoCredentials
from worker.messages.envelope import Limits, Record, open_envelope
from worker.oauth.jwks import KeysUnavailable
from worker.oauth.tokens import TokenVerifier

_RECORDS_A_TURN = 250
"""Decode at most so many before the event loop gets its turn: heartbeats and other lanes must not wait for long."""


class KeysAway(Exception):
    """An access token needs a key that cannot be fetched now. Wait; the token is not refused for that."""


class Door:
    """Opens envelopes; `verifier` is None while OAuth is off, and then every access token is unknown."""

    def __init__(self, limits: Limits, verifier: TokenVerifier | None) -> None:
        self._limits = limits
        self._verifier = verifier

    async def commands(self, records: Sequence[Record]) -> list[Command]:
        """One command a record, in order. Raises `KeysAway` and nothing else."""
        commands: list[Command] = []
        for start in range(0, len(records), _RECORDS_A_TURN):
            for record in records[start : start + _RECORDS_A_TURN]:
                envelope = open_envelope(record, self._limits)
                if envelope.token is None or self._verifier is None:
                    commands.append(envelope.command)
                else:
                    commands.append(await self._verified(envelope.command, envelope.token, self._verifier))
            await asyncio.sleep(0)
        return commands

    async def _verified(self, command: Command, token: str, verifier: TokenVerifier) -> Command:
        try:
            return replace(command, credentials=await verifier.verify(token) or NoCredentials.UNKNOWN_TOKEN)
        except KeysUnavailable as error:
            raise KeysAway(f"waiting for OAuth keys: {error}") from error
