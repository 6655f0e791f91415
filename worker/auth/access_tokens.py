"""Verifies OAuth 2.0 access tokens in JWT form (RFC 9068). `decide` checks their times."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from typing import Generic, TypeVar

import jwt

from worker.auth.jwks import JwksSource
from worker.auth.key_set import ALGORITHMS, VerificationKey
from worker.domain.command import AccessToken, is_object_id

CACHED_TOKENS = 4096

# RFC 9068 section 4. Servers issue other kinds of tokens with the same issuer and sometimes the same audience.
_TYPES = ("at+jwt", "application/at+jwt")
# PyJWT raises these on hostile bytes.
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, RecursionError)

Claims = Mapping[str, object]
Grant = TypeVar("Grant")


@dataclass(frozen=True, slots=True)
class _Verified(Generic[Grant]):
    key_id: str
    key: VerificationKey
    grant: Grant


class SignedTokens(Generic[Grant]):
    """Verifies tokens. `read` makes a grant of their claims, or returns None if the claims grant nothing.

    `allow_any_type` is for issuers whose access tokens do not state their type.
    """

    def __init__(
        self,
        jwks: JwksSource,
        issuer: str,
        audience: str,
        read: Callable[[Claims], Grant | None],
        *,
        allow_any_type: bool = False,
    ) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._grant = read
        self._allow_any_type = allow_any_type
        self._verified: OrderedDict[bytes, _Verified[Grant]] = OrderedDict()

    async def verify(self, token: str) -> Grant | None:
        """Return the grant of a token; None if it is malformed, or not signed for us by the issuer.

        Does not check times. Raises `KeysUnavailable` when the token's key cannot be looked up now.
        """
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        key_id = known.key_id if known is not None else self._key_id(token)
        key = await self._jwks.key(key_id) if key_id is not None else None
        if key_id is None or key is None:
            return None
        if known is None or known.key is not key:  # a signature is good only as long as its key is published
            grant = self._read(token, key)
            if grant is None:
                return None
            known = _Verified(key_id, key, grant)
        self._verified[digest] = known
        self._verified.move_to_end(digest)
        if len(self._verified) > CACHED_TOKENS:
            self._verified.popitem(last=False)
        return known.grant

    def is_of_another_type(self, token: str) -> bool:
        """Whether the token states another type than that of access tokens."""
        header = _header(token)
        return header is not None and not self._allow_any_type and not _is_access_token(header)

    def _key_id(self, token: str) -> str | None:
        """The key id of an access token that is signed with one of `ALGORITHMS`; None for other tokens."""
        header = _header(token)
        if header is None or not (self._allow_any_type or _is_access_token(header)):
            return None
        algorithm, key_id = header.get("alg"), header.get("kid")
        # Checked before the key is looked up: a token that can never be good must not wait for the server.
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            return None
        return key_id if isinstance(key_id, str) else None

    async def watch(self) -> None:
        """See `JwksSource.watch`. Runs until it is cancelled."""
        await self._jwks.watch()

    def _read(self, token: str, key: VerificationKey) -> Grant | None:
        algorithm = str((_header(token) or {}).get("alg"))
        if algorithm not in key.by_algorithm:
            return None
        try:
            claims = jwt.decode(
                token,
                key.by_algorithm[algorithm],
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                # `decide` compares times with the record's append time, not with the time of processing.
                options={
                    "require": ["iss", "aud", "exp"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except UNREADABLE:
            return None
        return self._grant(claims)


class TokenVerifier(SignedTokens[AccessToken]):
    """Verifies the access tokens of commands. `company_claim` names the claim that holds the company's ObjectId."""

    def __init__(
        self, jwks: JwksSource, issuer: str, audience: str, company_claim: str, *, allow_any_type: bool = False
    ) -> None:
        super().__init__(jwks, issuer, audience, self._access, allow_any_type=allow_any_type)
        self._company_claim = company_claim

    def _access(self, claims: Claims) -> AccessToken | None:
        company_id, times = claims.get(self._company_claim), lifetime(claims)
        if times is None or not is_object_id(company_id):
            return None
        expires_at, not_before = times
        return AccessToken(company_id.lower(), words(claims.get("scope", "")), expires_at, not_before)


def _header(token: str) -> dict[str, object] | None:
    """The header of a token, not verified; None if the text is no token."""
    try:
        header: dict[str, object] = jwt.get_unverified_header(token)
    except UNREADABLE:
        return None
    return header


def _is_access_token(header: Mapping[str, object]) -> bool:
    """Whether the type is that of access tokens. Media types are compared without regard to case."""
    type_ = header.get("typ")
    return isinstance(type_, str) and type_.lower() in _TYPES


def words(claim: object) -> frozenset[str]:
    """Scopes or roles, from a space-separated string (RFC 8693 section 4.2) or a list of strings; else none."""
    if isinstance(claim, str):
        return frozenset(claim.split(" "))
    if isinstance(claim, list) and all(isinstance(scope, str) for scope in claim):
        return frozenset(claim)
    return frozenset()


def lifetime(claims: Claims) -> tuple[float, float] | None:
    """`exp` and `nbf`, by default 0; None if one of them is no time."""
    expires_at, not_before = numeric_date(claims.get("exp")), numeric_date(claims.get("nbf", 0))
    return None if expires_at is None or not_before is None else (expires_at, not_before)


def numeric_date(claim: object) -> float | None:
    """A NumericDate (RFC 7519 section 2); None if the claim is not a finite number."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    try:
        seconds = float(claim)
    except OverflowError:
        return None
    return seconds if isfinite(seconds) else None
