"""Turns records into commands with verified credentials. It waits for nothing but the public keys."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain

from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import KeysUnavailable
from worker.domain.command import AccessToken, Command, NoCredentials
from worker.messages.envelope import Envelope, Limits, Record, open_envelope

# After this many records, of whatever lanes, other tasks get a chance: heartbeats must not be late.
_RECORDS_AT_ONCE = 250


class CommandReader:
    """Opens envelopes and verifies access tokens. Without a `verifier` OAuth is off, and every token is unknown."""

    def __init__(
        self,
        limits: Limits,
        verifier: TokenVerifier | None,
        audience: str | None = None,
        channels: Mapping[str, str] | None = None,
    ) -> None:
        """`audience` is the installation that signatures must name, by default the topic of the records.

        `channels` has the name of each topic's channel, by default the default channel.
        """
        self._limits, self._audience, self._channels = limits, audience, channels or {}
        self._verifier = verifier
        self._decoded = 0

    def open(self, record: Record) -> Envelope:
        """Open the envelope of a record. This needs no server, so it can be done ahead of the record's turn."""
        return open_envelope(record, self._limits, self._audience, self._channels.get(record.topic, ""))

    async def commands(self, records: Sequence[Record], opened: Sequence[Envelope] = ()) -> list[Command]:
        """A command for each record, in order. `opened` are the envelopes of the first records, opened ahead.

        On `KeysUnavailable` the caller waits, and reads the records again.
        """
        commands: list[Command] = []
        for command, token in chain(opened, map(self.open, records[len(opened) :])):
            self._decoded += 1
            if self._decoded % _RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)
            if token is None or self._verifier is None:
                commands.append(command)
            else:
                commands.append(command._replace(credentials=await _verified(token, self._verifier)))
        return commands


async def _verified(token: str, verifier: TokenVerifier) -> AccessToken | NoCredentials:
    """The grant of a token, or why it grants nothing. Raises `KeysUnavailable` while the keys may still come."""
    try:
        granted = await verifier.verify(token)
        if granted is None and verifier.is_of_another_type(token):
            return NoCredentials.OTHER_TOKEN_TYPE
        return granted or NoCredentials.UNKNOWN_TOKEN
    except KeysUnavailable as away:
        if not away.is_given_up:
            raise
        return NoCredentials.KEYS_UNAVAILABLE
