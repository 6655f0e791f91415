"""Who submits: what proves it goes into headers of each command."""

from typing import Protocol

from worker.messages.events import Header


class BadCredentials(ValueError):
    """What was given is none; the text says what was expected, and nothing of what was given."""


class Credentials(Protocol):
    """What a company has been given, or has made."""

    def headers(self, value: bytes, key: str, content_type: bytes | None, at: float) -> list[Header]:
        """Those that prove who sends a record of this value, under this idempotency key, at a moment (Unix seconds)."""
        ...


class Bearer:
    """An API key or an access token, the same for all commands."""

    def __init__(self, secret: str) -> None:
        """Raises `BadCredentials` unless it is one word of printable ASCII; `Bearer` may stand before it."""
        scheme, _, rest = secret.strip().partition(" ")
        word = rest.strip() if scheme.lower() == "bearer" else secret.strip()
        if not word or not word.isascii() or not word.isprintable() or " " in word:
            raise BadCredentials("expected an API key or an access token: one word, without control characters")
        self._headers: list[Header] = [("authorization", f"Bearer {word}".encode("ascii"))]

    def headers(self, value: bytes, key: str, content_type: bytes | None, at: float) -> list[Header]:
        """See `Credentials`."""
        return self._headers
