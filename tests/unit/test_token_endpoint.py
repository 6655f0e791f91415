"""Tokens for Kafka from a token endpoint: shared, renewed in time, and used while the server is away."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from tests.infrastructure.issuer import Issuer
from tests.unit.oauth_builders import Clock
from worker.secret_file import UnreadableSecret
from worker.stream.cluster import token_endpoint
from worker.stream.cluster.token_endpoint import PAUSE_SECONDS, TokenEndpoint

CLIENT, SECRET = "passport worker:1", "p%+ /:ä"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Its tokens live for 100 s, and their text is their number."""
    with Issuer(CLIENT, SECRET) as issuer:
        issuer.token_seconds = 100
        yield issuer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The endpoint's."""
    clock = Clock()
    monkeypatch.setattr(token_endpoint, "monotonic", clock)
    return clock


@pytest.fixture
def endpoint(issuer: Issuer, tmp_path: Path, clock: Clock) -> TokenEndpoint:
    """Of the client, with its secret in `secret`."""
    (tmp_path / "secret").write_text(SECRET)
    return TokenEndpoint(f"{issuer.url}/token", CLIENT, str(tmp_path / "secret"), None)


async def test_connections_share_a_token_until_it_is_about_to_expire(
    issuer: Issuer, endpoint: TokenEndpoint, clock: Clock
) -> None:
    """Id and secret reach the server whatever their characters are; without a scope none is asked for."""
    first = {*await asyncio.gather(*(endpoint.token() for _ in range(5)))}
    assert first == {*issuer.issued}
    assert issuer.asked == [{"grant_type": "client_credentials"}]
    clock.seconds += 74
    assert await endpoint.token() in first
    clock.seconds += 2
    assert await endpoint.token() == issuer.issued[1]
    assert len(issuer.asked) == 2


async def test_a_token_that_brokers_refuse_is_replaced(issuer: Issuer, endpoint: TokenEndpoint, clock: Clock) -> None:
    """The server got new keys, or took the token back. It is not asked for each connection that is refused.

    Seen to fail: the token was shown again for three quarters of its life, however often brokers refused it.
    """
    endpoint.refuse(await endpoint.token())
    endpoint.refuse(token := await endpoint.token())
    clock.seconds += PAUSE_SECONDS
    endpoint.refuse("another")
    await endpoint.token()
    assert len(issuer.asked) == 1, "it is new, or another one was refused"
    endpoint.refuse(token)
    token = await endpoint.token()
    assert len(issuer.asked) == 2
    clock.seconds += PAUSE_SECONDS
    endpoint.refuse(token)
    issuer.is_away = True
    with pytest.raises(KafkaConnectionError, match="no token from"):
        await endpoint.token()


async def test_a_token_serves_until_it_expires_while_the_server_is_away(
    issuer: Issuer, endpoint: TokenEndpoint, clock: Clock
) -> None:
    """Also where the server refuses the client; it is asked again after a pause, and not for each connection."""
    token = await endpoint.token()
    clock.seconds += 76
    issuer.is_away = True
    assert [await endpoint.token() for _ in range(3)] == [token] * 3
    clock.seconds += PAUSE_SECONDS + 1
    issuer.is_away, issuer.secret = False, "another"
    assert [await endpoint.token() for _ in range(3)] == [token] * 3
    assert len(issuer.asked) == 2
    clock.seconds += 100 - 76
    with pytest.raises(SaslAuthenticationFailed, match="gives client passport worker:1 no token: invalid_client"):
        await endpoint.token()


async def test_a_secret_is_read_for_each_token(
    issuer: Issuer, endpoint: TokenEndpoint, clock: Clock, tmp_path: Path
) -> None:
    """So that it can be rotated; a missing file is told."""
    await endpoint.token()
    issuer.secret = "rotated"
    (tmp_path / "secret").write_text("rotated\n")
    clock.seconds += 76
    assert await endpoint.token() == issuer.issued[1]
    (tmp_path / "secret").unlink()
    clock.seconds += 101
    with pytest.raises(UnreadableSecret, match="PASSPORT_KAFKA_OAUTH_CLIENT_SECRET_FILE: expected a file"):
        await endpoint.token()


@pytest.mark.parametrize("seconds", [None, "soon", 0])
async def test_a_token_of_unknown_life_serves_one_connection(
    issuer: Issuer, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch, seconds: object
) -> None:
    """A server need not say how long a token lives."""
    numbers = iter(range(9))
    monkeypatch.setattr(
        issuer, "answer", lambda *_: (200, {"access_token": f"t{next(numbers)}", "expires_in": seconds})
    )
    assert [await endpoint.token(), await endpoint.token()] == ["t0", "t1"]


@pytest.mark.parametrize(
    ("status", "body"), [(200, {}), (200, {"access_token": 1}), (302, {}), (429, {"error": "slow_down"}), (500, {})]
)
async def test_an_answer_without_a_token_is_an_outage(
    issuer: Issuer, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, object]
) -> None:
    """The worker waits, and says which server it is."""
    monkeypatch.setattr(issuer, "answer", lambda *_: (status, body))
    place = issuer.url.removeprefix("http://")
    with pytest.raises(KafkaConnectionError, match=f"no token from {place}: HTTP status {status}"):
        await endpoint.token()


async def test_a_server_that_nobody_reaches_is_named_without_its_path(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    """Its URL may hold a secret."""
    away = TokenEndpoint("http://127.0.0.1:1/t?key=hunter2", CLIENT, str(tmp_path / "secret"), None)
    with pytest.raises(KafkaConnectionError) as error:
        await away.token()
    assert error.value.args[0] == "no token from 127.0.0.1:1: ClientConnectorError"


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_answer_that_comes_in_pieces_is_read_to_its_end(tmp_path: Path, is_chunked: bool) -> None:
    """Tokens with many claims take more than a packet, and servers write long answers piece by piece.

    Seen to fail: the first piece alone was read, which is no JSON, and no connection got a token.
    """
    body = b'{"access_token": "%b", "expires_in": 100}' % (b"x" * 4000)
    pieces = body[:1400], body[1400:2800], body[2800:]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%b\r\n\r\n" % length)
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n" if is_chunked else b"")
        writer.close()

    (tmp_path / "secret").write_text(SECRET)
    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        endpoint = TokenEndpoint(f"http://127.0.0.1:{port}/token", CLIENT, str(tmp_path / "secret"), None)
        assert await endpoint.token() == "x" * 4000
