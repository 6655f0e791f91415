"""Gets access tokens for Kafka from an authorization server, with client credentials (RFC 6749, section 4.4)."""

import asyncio
import json
from base64 import b64encode
from math import inf
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import structlog
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from worker.auth.bounded_body import read_bounded
from worker.secret_file import UnreadableSecret, read_secret

log = structlog.get_logger(__name__)

# A token is renewed after this share of its life. Connections live for a longer share (`aiokafka_internals`), so that
# the connection that replaces another one gets a new token.
RENEWED_AFTER = 0.75
# After a failure, connections use the old token for this long before one of them asks again.
PAUSE_SECONDS = 5.0
ANSWER_SECONDS = 5.0
_MAX_BYTES = 256 * 1024


class TokenEndpoint:
    """Keeps a token until it is about to expire. The file with the client's secret is read for each new token.

    While the server is away, the token is used until it expires.
    """

    def __init__(self, url: str, client_id: str, secret_file: str, scope: str | None) -> None:
        self._url, self._client_id, self._secret_file, self._scope = url, client_id, secret_file, scope
        self._token, self._renew_at, self._expires_at = "", -inf, -inf
        self._got_at = -inf
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """The token for a connection.

        Without a valid token, raises `SaslAuthenticationFailed` if the server refuses the client, `UnreadableSecret`,
        and `KafkaConnectionError` if the server is away.
        """
        async with self._asking:
            if monotonic() >= self._renew_at:
                await self._renew()
            return self._token

    def refuse(self, token: str) -> None:
        """Get another token for the next connection, since a broker refuses this one: perhaps the server has new keys.

        A token that is only a few seconds old is kept, so that connections do not flood the server.
        """
        if token == self._token and monotonic() - self._got_at >= PAUSE_SECONDS:
            # The token counts as expired, too: a refused one must not be used while the server is away.
            self._renew_at = self._expires_at = -inf

    async def _renew(self) -> None:
        now = monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._token, seconds = await self._ask()
        except (KafkaConnectionError, SaslAuthenticationFailed, aiohttp.ClientError, OSError) as error:
            if now >= self._expires_at:
                if isinstance(error, KafkaConnectionError | SaslAuthenticationFailed | UnreadableSecret):
                    raise
                # Not the error's text, which may quote the whole URL.
                raise KafkaConnectionError(f"no token from {self._place}: {type(error).__name__}") from error
            self._renew_at = now + PAUSE_SECONDS
            log.warning("kafka_token_not_renewed", endpoint=self._place, error=type(error).__name__)
        else:
            self._got_at, self._renew_at, self._expires_at = now, now + seconds * RENEWED_AFTER, now + seconds

    async def _ask(self) -> tuple[str, float]:
        """A token, and how many seconds it lives."""
        form = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
        secret = read_secret("PASSPORT_KAFKA_OAUTH_CLIENT_SECRET_FILE", self._secret_file)
        # Both are encoded like a form's values (RFC 6749, section 2.3.1).
        client = b64encode(f"{quote(self._client_id, safe='')}:{quote(secret, safe='')}".encode()).decode()
        async with (
            aiohttp.ClientSession(trust_env=True) as session,
            session.post(
                self._url, data=form, headers={"Authorization": f"Basic {client}"}, allow_redirects=False
            ) as response,
        ):
            answer = _json_object(await read_bounded(response, _MAX_BYTES))
        if response.status in (400, 401, 403):
            reason = answer.get("error", f"HTTP status {response.status}")
            raise SaslAuthenticationFailed(f"{self._place} gives client {self._client_id} no token: {reason}")
        token, seconds = answer.get("access_token"), answer.get("expires_in", 0)
        if response.status != 200 or not isinstance(token, str) or not token:
            raise KafkaConnectionError(f"no token from {self._place}: HTTP status {response.status}")
        # A server may send the time as text, or none: then each connection asks for a new token.
        return token, float(seconds) if isinstance(seconds, int | float) or str(seconds).isdecimal() else 0.0

    @property
    def _place(self) -> str:
        """The address of the server, without its secret parts."""
        return urlsplit(self._url).netloc.rpartition("@")[2]


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
