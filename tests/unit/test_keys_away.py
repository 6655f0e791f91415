"""While the key server is away: known keys go on, unknown ones are waited for once, and are refused after that."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.builders import BEARER, LIMITS, as_json, body, facts, record
from tests.unit.oauth_builders import AUDIENCE, ISSUER, Clock, jwk, key_set, token
from tests.workbench import until
from worker.auth import jwks
from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import JwksSource, KeysUnavailable
from worker.domain.command import AccessToken, ApiKey, Command, NoCredentials
from worker.domain.decide import decide
from worker.domain.outcomes import CredentialsProblem, Unauthorized
from worker.messages.envelope import Record
from worker.stream.command_reader import CommandReader

KEY, NEW, GONE = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
BEFORE, AFTER = key_set(jwk(KEY, "one"), jwk(GONE, "gone")), key_set(jwk(KEY, "one"), jwk(NEW, "new"))


@dataclass
class Kept:
    """A row of Postgres, in memory."""

    document: bytes | None = None
    saved: list[bytes] = field(default_factory=list)
    failing: int = 0

    async def load(self) -> bytes | None:
        """The document."""
        self._fail()
        return self.document

    async def save(self, document: bytes) -> None:
        """In place of the one before."""
        self._fail()
        self.saved.append(document)
        self.document = document

    def _fail(self) -> None:
        if self.failing:
            self.failing -= 1
            raise ConnectionError


@dataclass
class Server:
    """A key server that is away while it has no document. A file stands for it: reading it is as good as a request."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    kept: Kept = field(default_factory=Kept)

    def source(self) -> JwksSource:
        """The keys of a worker that starts now."""
        return JwksSource(str(self.path), self.clock, kept=self.kept)

    def publish(self, document: bytes) -> None:
        """Come back."""
        self.path.write_bytes(document)

    def leave(self) -> None:
        """Go away."""
        self.path.unlink()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.seconds += seconds


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """One that is away."""
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 10.0)
    return Server(tmp_path / "jwks.json")


async def _is_given_up(source: JwksSource, key_id: str) -> bool | None:
    """Whether a token of this key is refused; None where its key is known."""
    try:
        return None if await source.key(key_id) is not None else True
    except KeysUnavailable as away:
        return away.is_given_up


async def test_an_unknown_key_is_waited_for_once_an_outage(server: Server) -> None:
    """Ten seconds for all of them together; the server's answer ends the outage, and the next one begins anew."""
    source = server.source()
    assert await _is_given_up(source, "invented-0") is False
    server.wait(jwks.WAIT_SECONDS - 0.1)
    assert await _is_given_up(source, "invented-1") is False
    server.wait(0.1)
    assert [await _is_given_up(source, f"invented-{n}") for n in range(3)] == [True] * 3
    server.wait(3600)
    assert await _is_given_up(source, "one") is True
    server.publish(BEFORE)
    server.wait(jwks.FAILED_SECONDS)
    assert await _is_given_up(source, "one") is None
    assert await source.key("invented-0") is None
    server.leave()
    server.wait(jwks.MAX_AGE_SECONDS)
    assert await _is_given_up(source, "one") is None
    assert await _is_given_up(source, "invented-1") is False
    server.wait(jwks.WAIT_SECONDS)
    assert await _is_given_up(source, "invented-1") is True
    assert await _is_given_up(source, "one") is None


def test_a_command_waits_for_ten_seconds_at_most() -> None:
    """A lane that waits is looked at after a second, and that look takes as long as the patience with a read."""
    assert jwks.WAIT_SECONDS + 1.0 + jwks.PATIENCE_SECONDS < 10.0


async def test_the_outage_ends_although_no_token_comes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked beside: the first token hours later is not refused for what was. Seen to fail without."""
    monkeypatch.setattr(jwks, "WATCH_SECONDS", 0.01)
    told = list[bool]()
    source = JwksSource(str(server.path), server.clock, on_read=told.append)
    watching = asyncio.create_task(TokenVerifier(source, ISSUER, AUDIENCE, "company_id").watch())
    assert await _is_given_up(source, "one") is False
    server.wait(jwks.WAIT_SECONDS)
    assert await _is_given_up(source, "one") is True
    server.publish(BEFORE)
    await until(lambda: told[-1], 10, "the server is asked")
    server.leave()
    reads = len(told)
    await asyncio.sleep(0.05)
    assert len(told) == reads  # nobody waits any more
    server.wait(3600)
    assert await _is_given_up(source, "new") is False
    watching.cancel()


async def test_a_start_does_not_need_the_server(server: Server) -> None:
    """The keys that a worker read last are known, and others are waited for."""
    server.kept.document = BEFORE
    source = server.source()
    assert await _is_given_up(source, "one") is None
    assert await _is_given_up(source, "new") is False


async def test_a_start_does_not_wait_for_a_server_that_hangs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that were kept count while the first read goes on."""
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 0.05)
    server.kept.document = BEFORE
    source, reading = server.source(), asyncio.Event()

    async def hang(*_: object) -> bytes:
        reading.set()
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(jwks, "_read_document", hang)
    async with asyncio.timeout(5):
        assert await _is_given_up(source, "one") is None
        await reading.wait()


async def test_what_was_kept_counts_until_the_server_answers(server: Server) -> None:
    """A key that was withdrawn meanwhile is known no longer, and tokens that it had signed are verified no longer."""
    server.kept.document = BEFORE
    verifier = TokenVerifier(source := server.source(), ISSUER, AUDIENCE, "company_id")
    signed = token(GONE, "ES256", "gone")
    assert isinstance(await verifier.verify(signed), AccessToken)
    server.publish(AFTER)
    server.wait(jwks.STALE_SECONDS)
    assert await verifier.verify(signed) is None
    assert await source.key("new") is not None


async def test_a_key_set_is_kept_when_it_changes(server: Server) -> None:
    """Once each time, and with its public halves alone."""
    leaked = {**jwk(KEY, "one"), "d": "private", "x5c": ["certificate"], "use": "sig"}
    server.publish(key_set(leaked, {"kid": "k", "kty": "oct", "k": "c2VjcmV0"}, jwk(KEY, "rsa", use="enc")))
    source = server.source()
    for _ in range(3):
        assert await source.key("one") is not None
        server.wait(jwks.MAX_AGE_SECONDS)
    (document,) = server.kept.saved
    (kept,) = json.loads(document)["keys"]
    assert kept == {name: jwk(KEY, "one")[name] for name in ("kid", "kty", "crv", "x", "y")}
    server.publish(AFTER)
    assert await source.key("new") is not None
    assert [entry["kid"] for entry in json.loads(server.kept.saved[-1])["keys"]] == ["one", "new"]
    assert len(server.kept.saved) == 2


async def test_a_set_that_cannot_be_kept_is_kept_later(server: Server) -> None:
    """Its keys count all the same."""
    server.publish(BEFORE)
    server.kept.failing = 3  # nothing to load, nor to save; and again
    source = server.source()
    assert await source.key("one") is not None
    assert await source.key("one") is not None
    assert server.kept.saved == []
    server.kept.failing = 0
    server.wait(jwks.MAX_AGE_SECONDS)
    assert await source.key("one") is not None
    assert len(server.kept.saved) == 1


async def test_a_kept_set_that_cannot_be_read_is_read_later(server: Server) -> None:
    """Postgres may be away when the worker starts; and a row that somebody damaged harms nobody."""
    server.kept.document, server.kept.failing = BEFORE, 1
    source = server.source()
    assert await _is_given_up(source, "one") is False
    server.wait(jwks.FAILED_SECONDS)
    assert await _is_given_up(source, "one") is None
    server.kept.document = b"[]"
    assert await _is_given_up(server.source(), "one") is False


def _bearing(access_token: str, offset: int) -> Record:
    headers = [("authorization", f"Bearer {access_token}".encode())]
    return record(as_json(body()), headers, offset=offset)


def _outcomes(commands: list[Command]) -> list[object]:
    found = [decide(command, facts()) for command in commands]
    return [one if isinstance(one, Unauthorized) else type(one).__name__ for one in found]


async def test_a_command_that_was_waited_for_gets_its_answer(server: Server) -> None:
    """Neighbours with API keys, too; the command may be sent again, and is judged when the server is back."""
    reader = CommandReader(LIMITS, TokenVerifier(server.source(), ISSUER, AUDIENCE, "company_id"))
    records = [_bearing(token(NEW, "ES256", "new"), 0), record(as_json(body()), [BEARER], offset=1)]
    with pytest.raises(KeysUnavailable):
        await reader.commands(records)
    server.wait(jwks.WAIT_SECONDS)
    commands = await reader.commands(records)
    assert commands[0].credentials is NoCredentials.KEYS_UNAVAILABLE
    assert isinstance(commands[1].credentials, ApiKey)
    assert _outcomes(commands) == [Unauthorized(CredentialsProblem.KEYS_UNAVAILABLE), "Created"]
    server.publish(AFTER)
    server.wait(jwks.FAILED_SECONDS)
    assert _outcomes(await reader.commands(records[:1])) == ["Created"]
