"""The key set is read when it must be, not more often, and its absence never counts against a token."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519

from tests.unit.oauth_builders import Clock, jwk, key_set, rsa_key
from worker.auth import jwks
from worker.auth.jwks import JwksSource, KeysUnavailable
from worker.auth.key_set import read_keys

ONE = ec.generate_private_key(ec.SECP256R1())
TWO = ed25519.Ed25519PrivateKey.generate()
RSA = rsa_key()


@dataclass
class KeyServer:
    """An HTTP server on loopback that publishes `document` and counts how often it was asked."""

    document: bytes = key_set(jwk(ONE, "one"))
    status: int = 200
    requests: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        """One request; waits until the test releases the answers."""
        self.requests += 1
        await self.release.wait()
        return web.Response(body=self.document, status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    """A running key server whose answers are released."""
    keys = KeyServer()
    keys.release.set()
    app = web.Application()
    app.router.add_get("/jwks", keys.answer)
    async with TestServer(app, host="127.0.0.1") as running:
        keys.url = str(running.make_url("/jwks"))
        yield keys


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no slow key server."""
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 10.0)


async def test_a_known_key_is_fetched_once(server: KeyServer) -> None:
    """As long as the set is young, it answers for its keys without the server."""
    source = JwksSource(server.url, Clock())
    first = await source.key("one")
    assert first is not None
    assert [*first.by_algorithm] == ["ES256"]
    assert await source.key("one") is first
    assert server.requests == 1


async def test_concurrent_callers_share_one_fetch(server: KeyServer) -> None:
    """Fifty callers who arrive while the server is slow cost it one request."""
    server.release.clear()
    source = JwksSource(server.url, Clock())
    callers = [asyncio.create_task(source.key("one")) for _ in range(50)]
    while not server.requests:  # noqa: ASYNC110  # yields to the server, waits for no time
        await asyncio.sleep(0)
    server.release.set()
    found = await asyncio.gather(*callers)
    assert len(set(map(id, found))) == 1
    assert server.requests == 1


async def test_concurrent_callers_share_one_failure(server: KeyServer) -> None:
    """A broken server is not asked once for every caller."""
    server.status = 500
    source = JwksSource(server.url, Clock())
    answers = await asyncio.gather(*(source.key("one") for _ in range(50)), return_exceptions=True)
    assert {str(answer) for answer in answers} == {"Expected a JWKS, got HTTP status 500"}
    assert server.requests == 1


async def test_a_cancelled_caller_does_not_leave_the_others_waiting(server: KeyServer) -> None:
    """A lane that closes in the middle of a fetch harms no other."""
    server.release.clear()
    source = JwksSource(server.url, Clock())
    closing, staying = asyncio.create_task(source.key("one")), asyncio.create_task(source.key("one"))
    while not server.requests:  # noqa: ASYNC110  # yields to the server, waits for no time
        await asyncio.sleep(0)
    closing.cancel()
    server.release.set()
    assert await staying is not None


async def test_unknown_keys_are_asked_for_at_a_bounded_rate(server: KeyServer) -> None:
    """Anybody can invent key ids; the server sees one request in ten seconds."""
    clock = Clock()
    source = JwksSource(server.url, clock)
    for second in range(30):
        clock.seconds = 1000.0 + second
        assert await source.key(f"invented-{second}") is None
    assert server.requests == 3


async def test_a_new_key_is_found_when_it_is_asked_for(server: KeyServer) -> None:
    """Rotation: a token of a new key makes the set be read again, and the old key lives on with it."""
    clock = Clock()
    source = JwksSource(server.url, clock)
    assert await source.key("two") is None
    server.document = key_set(jwk(ONE, "one"), jwk(TWO, "two"))
    clock.seconds += jwks.UNKNOWN_KEY_SECONDS
    assert await source.key("two") is not None
    assert await source.key("one") is not None
    assert server.requests == 2


async def test_a_rotated_out_key_disappears_with_age(server: KeyServer) -> None:
    """A withdrawn key is known for ten minutes at the longest, also where nobody asks for another."""
    clock = Clock()
    source = JwksSource(server.url, clock)
    assert await source.key("one") is not None
    server.document = key_set(jwk(TWO, "two"))
    clock.seconds += jwks.MAX_AGE_SECONDS - 1
    assert await source.key("one") is not None
    clock.seconds += 1
    assert await source.key("one") is None


async def test_an_unchanged_set_keeps_its_keys(server: KeyServer) -> None:
    """Reading the same set again changes nothing that was verified with it."""
    clock = Clock()
    source = JwksSource(server.url, clock)
    first = await source.key("one")
    clock.seconds += jwks.MAX_AGE_SECONDS
    assert await source.key("one") is first
    assert server.requests == 2


async def test_no_key_is_unknown_while_the_server_is_down() -> None:
    """Nothing listens on the port: the caller has to wait, the token is not to blame."""
    source = JwksSource(f"http://127.0.0.1:{unused_port()}/jwks", Clock())
    with pytest.raises(KeysUnavailable) as caught:
        await source.key("one")
    assert caught.value.reason == "Expected a readable JWKS, got ClientConnectorError"


async def test_a_server_that_comes_back_is_asked_again(server: KeyServer) -> None:
    """A failure holds for a second, not longer, and within it the server is left alone."""
    clock = Clock()
    server.status = 503
    source = JwksSource(server.url, clock)
    with pytest.raises(KeysUnavailable, match="HTTP status 503"):
        await source.key("one")
    server.status = 200
    with pytest.raises(KeysUnavailable, match="HTTP status 503"):
        await source.key("one")
    assert server.requests == 1
    clock.seconds += jwks.FAILED_SECONDS
    assert await source.key("one") is not None


async def test_known_keys_outlive_an_absent_server(server: KeyServer) -> None:
    """While the set cannot be refreshed, what was known is used, and only unknown keys wait."""
    clock = Clock()
    source = JwksSource(server.url, clock)
    known = await source.key("one")
    server.status = 500
    clock.seconds += jwks.MAX_AGE_SECONDS
    assert await source.key("one") is known
    assert await source.key("one") is known
    assert server.requests == 2
    with pytest.raises(KeysUnavailable):
        await source.key("two")


async def test_a_proxy_of_the_environment_is_used(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the commands of the runbook. Seen to go around it: nobody answers by that name.

    The test's server answers in the proxy's place, whatever host it is asked for.
    """
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, server.url.removesuffix("/jwks"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "other.invalid")
    assert await JwksSource("http://keys.invalid/jwks", Clock()).key("one") is not None
    with pytest.raises(KeysUnavailable):
        await JwksSource("http://other.invalid/jwks", Clock()).key("one")
    assert server.requests == 1


async def test_a_hanging_server_is_given_up_on(server: KeyServer) -> None:
    """The fetch has a deadline of its own."""
    server.release.clear()
    source = JwksSource(server.url, Clock(), timeout_seconds=0.02)
    with pytest.raises(KeysUnavailable, match="TimeoutError"):
        await source.key("one")
    server.release.set()


async def test_a_slow_server_holds_up_a_turn_for_a_moment_only(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read goes on beside; its token waits in its lane, and later ones do not wait at all.

    Seen to fail where the read was awaited: all lanes stood for its 3 s, again and again.
    """
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 0.05)
    server.release.clear()
    source = JwksSource(server.url, timeout_seconds=60.0)
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(KeysUnavailable, match="being read"):
            await source.key("one")
    assert time.monotonic() - began < 2.0
    server.release.set()
    async with asyncio.timeout(10):
        while await _unavailable(source):  # noqa: ASYNC110  # a read that is done tells nobody
            await asyncio.sleep(0.01)
    assert server.requests == 1


async def _unavailable(source: JwksSource) -> bool:
    try:
        return await source.key("one") is None
    except KeysUnavailable:
        return True


async def test_known_keys_do_not_wait_for_a_slow_server(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before holds until the next read is done."""
    clock = Clock()
    source = JwksSource(server.url, clock, timeout_seconds=60.0)
    known = await source.key("one")
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 0.05)
    server.release.clear()
    clock.seconds += jwks.MAX_AGE_SECONDS
    async with asyncio.timeout(10):
        assert [await source.key("one") for _ in range(50)] == [known] * 50
    server.release.set()
    assert known is not None


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"<html>", "Expected a JWKS, got no JSON"),
        (b"\xff", "Expected a JWKS, got no JSON"),
        (b"[" * 100_000, "Expected a JWKS, got no JSON"),
        (b"[]", "Expected a JWKS, got no list of keys"),
        (b"{}", "Expected a JWKS, got no list of keys"),
        (b'{"keys": {}}', "Expected a JWKS, got no list of keys"),
        (b" " * (jwks.MAX_BYTES + 1), "Expected a JWKS of at most 1048576 bytes"),
    ],
    ids=["html", "not-utf8", "deep", "array", "no-keys", "keys-object", "too-large"],
)
async def test_garbage_is_no_key_set(server: KeyServer, document: bytes, reason: str) -> None:
    """A proxy's error page with status 200 does not make keys unknown."""
    server.document = document
    with pytest.raises(KeysUnavailable) as caught:
        await JwksSource(server.url, Clock()).key("one")
    assert caught.value.reason == reason


async def test_a_broken_url_is_a_failed_read_without_its_text() -> None:
    """Whatever a setting holds, the reason does not repeat it: it may hold a password."""
    with pytest.raises(KeysUnavailable) as caught:
        await JwksSource("http://user:secret@:bad/", Clock()).key("one")
    assert "secret" not in caught.value.reason


async def test_a_file_is_read_again_as_a_url_is(tmp_path: Path) -> None:
    """A mounted key set may be missing at first, appear, and rotate."""
    clock, path = Clock(), tmp_path / "jwks.json"
    source = JwksSource(str(path), clock)
    with pytest.raises(KeysUnavailable, match="FileNotFoundError"):
        await source.key("one")
    path.write_bytes(key_set(jwk(ONE, "one")))
    clock.seconds += jwks.FAILED_SECONDS
    assert await source.key("one") is not None
    path.write_bytes(key_set(jwk(TWO, "two")))
    assert await source.key("two") is None
    clock.seconds += jwks.UNKNOWN_KEY_SECONDS
    assert await source.key("two") is not None
    assert await source.key("one") is None


async def test_a_file_is_bounded_too(tmp_path: Path) -> None:
    """A wrong path to something huge does not fill the memory."""
    path = tmp_path / "huge"
    path.write_bytes(b" " * (jwks.MAX_BYTES + 1))
    with pytest.raises(KeysUnavailable, match="at most 1048576 bytes"):
        await JwksSource(str(path), Clock()).key("one")


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (jwk(RSA, "k"), ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (jwk(RSA, "k", alg="PS256", use="sig", key_ops=["verify"]), ("PS256",)),
        (jwk(ONE, "k"), ("ES256",)),
        (jwk(ec.generate_private_key(ec.SECP384R1()), "k"), ("ES384",)),
        (jwk(ec.generate_private_key(ec.SECP521R1()), "k"), ("ES512",)),
        (jwk(TWO, "k"), ("EdDSA",)),
        (jwk(ed448.Ed448PrivateKey.generate(), "k"), ("EdDSA",)),
        (jwk(TWO, "k", d="leaked"), ("EdDSA",)),
    ],
    ids=["RSA", "RSA-with-alg", "P-256", "P-384", "P-521", "Ed25519", "Ed448", "private"],
)
def test_a_key_allows_the_algorithms_that_fit_it(entry: dict[str, object], algorithms: tuple[str, ...]) -> None:
    """The key's type and curve decide, and its `alg` narrows them down."""
    assert (*read_keys(key_set(entry))["k"].by_algorithm,) == algorithms


def _without_key_material(entry: object) -> str:
    return json.dumps({name: entry[name] for name in entry if name not in "nexy"} if isinstance(entry, dict) else entry)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "k",
        {},
        {"kid": "k"},
        {"kid": "k", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "k", "kty": "oct", "alg": "HS256", "k": "c2VjcmV0"},
        {"kid": "k", "kty": ["RSA"]},
        {"kid": "k", "kty": "RSA"},
        {"kid": "k", "kty": "RSA", "n": 7, "e": None},
        {"kid": "k", "kty": "RSA", "n": "\ud800", "e": "AQAB"},
        {"kid": "k", "kty": "RSA", "n": "", "e": ""},
        {"kid": "k", "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kid": "k", "kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kid": "k", "kty": "EC", "crv": ["P-256"]},
        {"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        {"kid": "k", "kty": "OKP", "crv": "X25519", "x": "A" * 43},
        jwk(ec.generate_private_key(ec.SECP256K1()), "k"),
        jwk(rsa_key(1024), "k"),
        jwk(RSA, "k", use="enc"),
        jwk(RSA, "k", use=None),
        jwk(RSA, "k", alg="RSA-OAEP"),
        jwk(RSA, "k", alg="HS256"),
        jwk(RSA, "k", alg=["RS256"]),
        jwk(RSA, "k", key_ops=["encrypt"]),
        jwk(RSA, "k", key_ops=None),
        {**jwk(RSA, "k"), "kid": 1},
        {**jwk(RSA, "k"), "kid": ["k"]},
    ],
    ids=_without_key_material,
)
def test_an_unusable_key_does_not_spoil_the_set(entry: object) -> None:
    """Unknown, symmetric, weak, broken and encryption keys are passed over; the next one counts."""
    assert list(read_keys(key_set(entry, jwk(ONE, "one")))) == ["one"]


def test_an_empty_set_is_a_set() -> None:
    """A server that has withdrawn all its keys is not out of order."""
    assert read_keys(key_set()) == {}


async def test_every_read_is_told_with_what_came_of_it(server: KeyServer) -> None:
    """Operators see a key server that is away before tokens are refused."""
    clock, told = Clock(), list[bool]()
    source = JwksSource(server.url, clock, on_read=told.append)
    await source.key("one")
    server.status = 500
    clock.seconds += jwks.MAX_AGE_SECONDS
    await source.key("one")
    assert told == [True, False]
