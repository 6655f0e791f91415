"""Keys and headers of a row's command: its idempotency key, its record key, and who sends it."""

from typing import Protocol

from worker.messages.events import Header, uuid5_of_url
from worker.messages.json_value import JsonObject, fingerprint


class BadCredentials(ValueError):
    """Not an API key or access token. The text says what was expected, but repeats nothing of the secret."""


class Credentials(Protocol):
    """Proves who sends a command."""

    def headers(self, value: bytes, key: str, content_type: bytes | None, at: float) -> list[Header]:
        """Headers for a record with this value and idempotency key that is sent at a time (Unix seconds)."""
        ...


class Bearer:
    """An API key or an access token, the same for all commands."""

    def __init__(self, secret: str) -> None:
        """Raises `BadCredentials` unless it is one word of printable ASCII; `Bearer` may precede it."""
        scheme, _, rest = secret.strip().partition(" ")
        word = rest.strip() if scheme.lower() == "bearer" else secret.strip()
        if not word or not word.isascii() or not word.isprintable() or " " in word:
            raise BadCredentials("expected an API key or an access token: one word, without control characters")
        self._headers: list[Header] = [("authorization", f"Bearer {word}".encode("ascii"))]

    def headers(self, value: bytes, key: str, content_type: bytes | None, at: float) -> list[Header]:
        """See `Credentials`."""
        return self._headers


def idempotency_key(body: JsonObject) -> str:
    """UUIDv5 (URL namespace) of `urn:passport-worker:submit:<hex of the body's fingerprint>`.

    Submitting the same row again replays its result; a corrected row is a new command.
    """
    name = f"urn:passport-worker:submit:{fingerprint(body).hex()}"
    return uuid5_of_url(name.encode("ascii")).decode("ascii")


def record_key(body: JsonObject) -> bytes:
    """The GTIN of a valid body, so that commands that compete for a serial number are answered in their order."""
    return unit_of(body)[0].encode("ascii")


def unit_of(body: JsonObject) -> tuple[str, str]:
    """GTIN and serial number of a valid body."""
    identity = body["gs1"]
    assert isinstance(identity, dict)
    return str(identity["gtin"]), str(identity["serialNumber"])
