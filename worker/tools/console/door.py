"""Finds out who reads the console: anybody on this machine, or the person whom a proxy or a signed token names."""

import asyncio
import hmac
import ipaddress
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from aiohttp import web

from worker.auth.access_tokens import Claims, SignedTokens, lifetime, words
from worker.auth.jwks import JwksSource, KeysUnavailable
from worker.messages.hints import printable
from worker.secret_file import read_secret
from worker.settings import Settings
from worker.tools.cli.errors import BadUsage

Role = Literal["viewer", "support"]
"""A viewer sees lanes and counts. Support sees everything."""

SECRET_HEADER = "X-Proxy-Secret"
_SECRET_SETTING = "PASSPORT_CONSOLE_PROXY_SECRET_FILE"
KEYS_SECONDS = 3.0
"""Time that a request waits for the keys of tokens."""
CLOCK_SECONDS = 30.0
"""The issuer's clock may be this much ahead: a token may begin later than now."""
_NAMES = ("email", "preferred_username", "sub")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Reader:
    """A person at the console. `name` is None on this machine, `role` is None if a token lists neither role.

    `subject` is the issuer's id of the person: people may be able to change their names.
    """

    name: str | None = None
    role: Role | None = "support"
    subject: str | None = None

    @property
    def sees_companies(self) -> bool:
        """Whether the reader may see companies, commands and dead letters, too."""
        return self.role == "support"


@dataclass(frozen=True, slots=True)
class Refused:
    """Status and sentence of a refused request, with its reader if a token names one."""

    status: int
    text: str
    reader: Reader | None = None


class Door(Protocol):
    """Finds out who sent a request."""

    async def reader(self, request: web.Request, needed: Role) -> Reader | Refused:
        """The reader, who has the needed role."""
        ...


class OpenDoor:
    """Lets everybody in, for a console that only this machine can reach."""

    async def reader(self, request: web.Request, needed: Role) -> Reader | Refused:
        """A reader without a name."""
        return Reader()


@dataclass(frozen=True, slots=True)
class NamedByProxy:
    """Believes the user header of a proxy on this machine, or of one that knows the secret. No token is needed.

    `secret_file` has one secret per line. It is read for each request, so that secrets may change.
    """

    header: str
    secret_file: str | None = None

    async def reader(self, request: web.Request, needed: Role) -> Reader | Refused:
        """The reader whom the proxy names. Refused if the header is repeated: one may come from the browser."""
        if not (is_loopback(request.remote or "") or self._knows_secret(request)):
            return Refused(
                401,
                f"{self.header} counts only from the console's own machine, or with the right {SECRET_HEADER}. "
                f"Set {_SECRET_SETTING} here and have the sign-on send the secret.",
            )
        users = request.headers.getall(self.header, [])
        if len(users) > 1:
            return Refused(
                401, "The sign-on in front of this console must replace the header of a browser, not add another."
            )
        name = _shown(users[0]) if users else ""
        return Reader(name) if name else Refused(401, "The sign-on in front of this console did not say who you are.")

    def _knows_secret(self, request: web.Request) -> bool:
        sent = request.headers.getall(SECRET_HEADER, [])
        if self.secret_file is None or len(sent) != 1:
            return False
        given = sent[0].encode("utf-8", "surrogateescape")
        secrets = read_secret(_SECRET_SETTING, self.secret_file).splitlines()
        return any(hmac.compare_digest(given, secret.encode()) for secret in secrets if secret)


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    subject: str
    roles: frozenset[str]
    expires_at: float
    not_before: float


class SignedByIssuer:
    """Believes tokens that the issuer of the settings has signed, and that have not expired."""

    def __init__(self, settings: Settings, header: str) -> None:
        location = settings.console_jwks or settings.oauth_jwks
        issuer = settings.console_issuer or settings.oauth_issuer
        audience = settings.console_audience or settings.oauth_audience
        if not (location and issuer and audience):
            raise BadUsage(
                "expected PASSPORT_CONSOLE_JWKS, PASSPORT_CONSOLE_ISSUER and PASSPORT_CONSOLE_AUDIENCE: they say whose "
                "tokens open this console. Without tokens, it can listen on loopback, or trust --user-header"
            )
        any_type = settings.console_allow_any_typ
        self._header, self._claim = header, settings.console_roles_claim
        self._roles: dict[Role, str] = {
            "viewer": settings.console_viewer_role,
            "support": settings.console_support_role,
        }
        self._tokens = SignedTokens(
            JwksSource(location),
            issuer,
            audience,
            self._person,
            allow_any_type=settings.oauth_allow_any_typ if any_type is None else any_type,
        )

    async def reader(self, request: web.Request, needed: Role) -> Reader | Refused:
        """The reader whom the token names."""
        sent = request.headers.getall(self._header, [])
        if len(sent) != 1:
            how = "sent no token" if not sent else "sent the token twice"
            return Refused(401, f"The sign-on in front of this console {how}. It belongs in {self._header}.")
        token = _without_scheme(sent[0])
        try:
            person = await self._verified(token)
        except KeysUnavailable:
            return Refused(503, "The keys that prove who you are cannot be read now. Try again.")
        if person is None and self._tokens.is_of_another_type(token):
            return Refused(
                401,
                "Your token is of another type than at+jwt. PASSPORT_CONSOLE_ALLOW_ANY_TYP=true lets in ID tokens, "
                "and those of issuers that do not state the type.",
            )
        if person is None:
            return Refused(401, "Your token is not signed by this console's issuer for its audience.")
        # `SignedTokens` remembers tokens and checks no times, since commands are judged by their append time.
        if not person.not_before - CLOCK_SECONDS <= time.time() < person.expires_at:
            return Refused(401, "Your token has expired, or is not valid yet. Sign in again.")
        return self._with_role(person, needed)

    async def _verified(self, token: str) -> _Person | None:
        """The person of a token. Waits while the keys are being read. Raises `KeysUnavailable`."""
        deadline = time.monotonic() + KEYS_SECONDS
        while True:
            try:
                return await self._tokens.verify(token)
            except KeysUnavailable:
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(KEYS_SECONDS / 12)

    def _with_role(self, person: _Person, needed: Role) -> Reader | Refused:
        held: Role | None = None
        for role in ("viewer", "support"):
            held = role if self._roles[role] in person.roles else held
        reader = Reader(person.name, held, person.subject)
        if held in ("support", needed):
            return reader
        return Refused(
            403,
            f"This page needs the role `{self._roles[needed]}` in the claim `{self._claim}` of your token. "
            f"You have {'no role of this console' if held is None else f'the role `{self._roles[held]}`'}. "
            "Ask those who run your sign-on.",
            reader,
        )

    def _person(self, claims: Claims) -> _Person | None:
        times, subject = lifetime(claims), claims.get("sub")
        if times is None or not isinstance(subject, str) or not _shown(subject):
            return None
        names = (_shown(claim) for claim in map(claims.get, _NAMES) if isinstance(claim, str))
        return _Person(next(filter(None, names)), _shown(subject), words(claims.get(self._claim)), *times)


def door_of(settings: Settings, host: str, user_header: str | None) -> Door:
    """The door that settings and options ask for. Raises `BadUsage` if it would be open to other machines."""
    if user_header is not None:
        if settings.console_token_header is not None:
            raise BadUsage("--user-header: expected no PASSPORT_CONSOLE_TOKEN_HEADER with it, since tokens prove more")
        return NamedByProxy(user_header, settings.console_proxy_secret_file)
    if settings.console_token_header is None and is_loopback(host):
        return OpenDoor()
    return SignedByIssuer(settings, settings.console_token_header or "Authorization")


def is_loopback(host: str) -> bool:
    """Whether this is a loopback address, or the name `localhost`."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        # A socket for both families shows IPv4 peers as ::ffff:127.0.0.1, which is no loopback to Python 3.11.
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    return host == "localhost"


def _without_scheme(value: str) -> str:
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else value.strip()


def _shown(name: str) -> str:
    return printable(name.strip())[:_LONGEST_NAME]
