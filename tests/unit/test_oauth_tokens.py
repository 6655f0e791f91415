"""A token is what its signature, issuer and audience make it, and its times are left to the decision."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.builders import LIMITS, record
from tests.unit.oauth_builders import AUDIENCE, CLAIMS, COMPANY, ISSUER, Clock, Private, jwk, key_set, rsa_key, token
from worker.app import make_verifier
from worker.auth import access_tokens, jwks
from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import JwksSource, KeysUnavailable
from worker.domain.command import AccessToken, NoCredentials
from worker.messages.envelope import Record
from worker.observability.metrics import Metrics
from worker.settings import Settings
from worker.store.postgres import PostgresStore
from worker.stream.command_reader import CommandReader

RSA = rsa_key()
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
GRANT = AccessToken(COMPANY, frozenset({"openid", "passports:write"}), 1_778_324_400.0, 0.0)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no slow key server."""
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 10.0)


def _verifier(location: object, clock: Clock | None = None) -> TokenVerifier:
    return TokenVerifier(JwksSource(str(location), clock or Clock()), ISSUER, AUDIENCE, "company_id")


@pytest.fixture
def verifier(tmp_path: Path) -> TokenVerifier:
    """A verifier that knows the three keys."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(ED, "ed")))
    return _verifier(path)


@pytest.mark.parametrize(
    ("private", "algorithm", "key_id"),
    [
        *((RSA, name, "rsa") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        (EC, "ES256", "ec"),
        (ED, "EdDSA", "ed"),
    ],
)
async def test_asymmetric_signatures_are_verified(
    verifier: TokenVerifier, private: Private, algorithm: str, key_id: str
) -> None:
    """Each algorithm of the families RS, PS, ES and EdDSA, first verified and then remembered."""
    signed = token(private, algorithm, key_id)
    assert await verifier.verify(signed) == GRANT
    assert await verifier.verify(signed) == GRANT


async def test_keys_of_several_types_may_share_an_id(tmp_path: Path) -> None:
    """RFC 7517 section 4.5: as alternatives of each other. The algorithm of the token tells which one signed it."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(RSA, "k"), jwk(EC, "k"), jwk(ED, "k")))
    verifier = _verifier(path)
    for private, algorithm in ((RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")):
        assert await verifier.verify(token(private, algorithm, "k")) == GRANT
    assert await verifier.verify(token(rsa_key(), "PS256", "k")) is None
    assert await verifier.verify(token(ec.generate_private_key(ec.SECP384R1()), "ES384", "k")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"aud": "others"},
        {"aud": None},
        {"aud": ["others"]},
        {"aud": [1, AUDIENCE]},
        {"aud": {}},
        {"exp": None},
        {"exp": "1778324400"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"nbf": "0"},
        {"nbf": False},
        {"nbf": float("nan")},
        {"nbf": []},
        {"company_id": None},
        {"company_id": 7},
        {"company_id": COMPANY + "0"},
        {"company_id": COMPANY + "\n"},
        {"company_id": "\uff10" * 24},
    ],
    ids=str,
)
async def test_a_token_with_wrong_claims_is_unknown(verifier: TokenVerifier, changes: dict[str, object]) -> None:
    """Claims that are missing, mistyped or meant for somebody else."""
    assert await verifier.verify(token(EC, "ES256", "ec", **changes)) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": ["others", AUDIENCE]}, GRANT),
        ({"exp": 1.5}, AccessToken(COMPANY, GRANT.scopes, 1.5, 0.0)),
        ({"exp": -5}, AccessToken(COMPANY, GRANT.scopes, -5.0, 0.0)),
        ({"nbf": 33_000_000_000}, AccessToken(COMPANY, GRANT.scopes, GRANT.expires_at, 33e9)),
        ({"iat": 33_000_000_000}, GRANT),
        ({"iat": "soon", "sub": 7, "jti": 7}, GRANT),
        ({"company_id": COMPANY.upper()}, GRANT),
        ({"scope": ["openid", "passports:write"]}, GRANT),
        ({"scope": 7}, AccessToken(COMPANY, frozenset(), GRANT.expires_at, 0.0)),
        ({"scope": ["passports:write", 7]}, AccessToken(COMPANY, frozenset(), GRANT.expires_at, 0.0)),
        ({"scope": None}, AccessToken(COMPANY, frozenset({""}), GRANT.expires_at, 0.0)),
        ({"scope": None, "scp": "passports:write"}, AccessToken(COMPANY, frozenset({""}), GRANT.expires_at, 0.0)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
async def test_claims_are_read_and_not_judged(
    verifier: TokenVerifier, changes: dict[str, object], expected: AccessToken
) -> None:
    """Expired and future tokens are told apart by the decision, which knows when the record was appended."""
    assert await verifier.verify(token(EC, "ES256", "ec", **changes)) == expected


async def test_the_company_claim_has_the_name_of_the_setting(tmp_path: Path) -> None:
    """Authorization servers name their claims as they like."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(EC, "ec")))
    verifier = TokenVerifier(JwksSource(str(path), Clock()), ISSUER, AUDIENCE, "https://x.eu/tenant")
    changes: dict[str, object] = {"company_id": None, "https://x.eu/tenant": COMPANY}
    signed = token(EC, "ES256", "ec", **changes)
    assert await verifier.verify(signed) == GRANT


def _segment(content: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _header(members: dict[str, object]) -> str:
    """Of the right type, so that nothing but these members is wrong."""
    return _segment({"typ": "at+jwt", **members})


def _hmac_with_the_public_key() -> str:
    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing_input = f"{_header({'alg': 'HS256', 'kid': 'rsa'})}.{_segment(dict(CLAIMS))}"
    return f"{signing_input}.{_segment(hmac.new(secret, signing_input.encode(), hashlib.sha256).digest())}"


def _with_another_payload(signed: str) -> str:
    header, _, signature = signed.split(".")
    return f"{header}.{_segment({**CLAIMS, 'company_id': 'f' * 24})}.{signature}"


GOOD = token(EC, "ES256", "ec")
_PAYLOAD = _segment(dict(CLAIMS))
FORGERIES = {
    "unsigned": f"{_header({'alg': 'none', 'kid': 'ec'})}.{_segment(dict(CLAIMS))}.",
    "hmac-with-public-key": _hmac_with_the_public_key(),
    "no-key-id": token(EC, "ES256", None),
    "unknown-key-id": token(EC, "ES256", "other"),
    "key-id-number": f"{_header({'alg': 'ES256', 'kid': 7})}.{_PAYLOAD}.AAAA",
    "algorithm-list": f"{_header({'alg': ['ES256'], 'kid': 'ec'})}.{_PAYLOAD}.AAAA",
    "algorithm-missing": f"{_header({'kid': 'ec'})}.{_PAYLOAD}.AAAA",
    "algorithm-of-another-key": token(EC, "ES256", "rsa"),
    "key-of-another-algorithm": token(RSA, "RS256", "ec"),
    "eddsa-as-ec": token(ED, "EdDSA", "ec"),
    "foreign-key": token(ec.generate_private_key(ec.SECP256R1()), "ES256", "ec"),
    "other-payload": _with_another_payload(GOOD),
    "no-signature": GOOD.rpartition(".")[0] + ".",
    "two-segments": GOOD.rpartition(".")[0],
    "four-segments": GOOD + ".AAAA",
    "padded": GOOD + "====",
    "critical-extension": f"{_header({'alg': 'ES256', 'kid': 'ec', 'crit': ['x'], 'x': 1})}.{_PAYLOAD}.AAAA",
    "detached": f"{_header({'alg': 'ES256', 'kid': 'ec', 'b64': False, 'crit': ['b64']})}..AAAA",
    "deep-header": f"{_segment(b'[' * 5000)}.{_PAYLOAD}.AAAA",
    "long-integer-header": f"{_segment(b'[%s]' % (b'9' * 5000))}.{_PAYLOAD}.AAAA",
    "header-no-object": f"{_segment(b'7')}.{_PAYLOAD}.AAAA",
    "encrypted": "a.b.c.d.e",
    "empty": "",
    "dots": "..",
    "lone-surrogate": "\ud800.a.b",
    "not-ascii": "é.é.é",
    "nul": "\0",
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
async def test_forged_and_malformed_tokens_are_unknown(verifier: TokenVerifier, forged: str) -> None:
    """None of them is an exception, and none is believed."""
    assert await verifier.verify(forged) is None


@pytest.mark.parametrize("payload", [b"[" * 5000, b"7", b"\xff", b'{"exp":' + b"9" * 5000 + b"}", b""])
async def test_a_signed_payload_may_be_anything(verifier: TokenVerifier, payload: bytes) -> None:
    """A signature says who wrote it, not that it makes sense."""
    assert await verifier.verify(jwt.PyJWS().encode(payload, EC, "ES256", {"kid": "ec", "typ": "at+jwt"})) is None


NO_STRINGS: list[object] = [7, ["at+jwt"], {}, True]


@pytest.mark.parametrize(
    ("type_", "is_strict", "passes"),
    [
        *((type_, True, True) for type_ in ("at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+JWT")),
        *((type_, True, False) for type_ in (None, "", "JWT", "id+jwt", "at+jwt ", "text/at+jwt", "dpop+jwt", "at")),
        *((type_, True, False) for type_ in NO_STRINGS),
        *((type_, False, True) for type_ in ("at+jwt", "JWT", None, "application/okta-internal-at+jwt")),
    ],
)
async def test_a_token_is_of_the_type_of_access_tokens(
    tmp_path: Path, type_: object, is_strict: bool, passes: bool
) -> None:
    """RFC 9068 section 4: an issuer's other tokens, such as those of identity, open nothing.

    Seen to pass whatever the type. A setting lets in those of issuers that do not say it.
    """
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(EC, "ec")))
    source = JwksSource(str(path), Clock())
    verifier = TokenVerifier(source, ISSUER, AUDIENCE, "company_id", allow_any_type=not is_strict)
    assert await verifier.verify(token(EC, "ES256", "ec", type_=type_)) == (GRANT if passes else None)


async def test_a_token_of_another_type_is_told_from_others(tmp_path: Path) -> None:
    """An operator whose issuer says `JWT` sees which setting it takes; and no key is asked for."""
    verifier = _verifier(tmp_path / "no keys")
    reader = CommandReader(LIMITS, verifier)
    (command,) = await reader.commands([_bearing(token(EC, "ES256", "ec", type_="JWT"))])
    assert command.credentials is NoCredentials.OTHER_TOKEN_TYPE
    (command,) = await reader.commands([_bearing("no token")])
    assert command.credentials is NoCredentials.MALFORMED
    (command,) = await reader.commands([_bearing("no.token")])
    assert command.credentials is NoCredentials.UNKNOWN_TOKEN


@pytest.mark.parametrize("allowed", [False, True])
async def test_the_worker_has_the_setting_of_types(tmp_path: Path, allowed: bool) -> None:
    """By default it follows the RFC."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(EC, "ec")))
    settings = Settings(oauth_jwks=str(path), oauth_issuer=ISSUER, oauth_audience=AUDIENCE, oauth_allow_any_typ=allowed)
    verifier = make_verifier(settings, Metrics(), PostgresStore(settings.database, 1))
    assert verifier is not None
    assert await verifier.verify(token(EC, "ES256", "ec", type_="JWT")) == (GRANT if allowed else None)
    assert Settings().oauth_allow_any_typ is False


def _bearing(access_token: str) -> Record:
    return record(headers=[("authorization", f"Bearer {access_token}".encode())])


async def test_a_key_serves_only_the_algorithm_that_it_names(tmp_path: Path) -> None:
    """A JWK with `alg: PS256` does not verify RS256."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(RSA, "rsa", alg="PS256")))
    verifier = _verifier(path)
    assert await verifier.verify(token(RSA, "RS256", "rsa")) is None
    assert await verifier.verify(token(RSA, "PS256", "rsa")) == GRANT


async def test_a_remembered_token_does_not_outlive_its_key(tmp_path: Path) -> None:
    """When the key is withdrawn, the token is unknown, though its signature was good once."""
    clock, path = Clock(), tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(EC, "ec")))
    verifier = _verifier(path, clock)
    assert await verifier.verify(GOOD) == GRANT
    path.write_bytes(key_set(jwk(ED, "ed")))
    clock.seconds += jwks.MAX_AGE_SECONDS
    assert await verifier.verify(GOOD) is None


async def test_a_remembered_token_does_not_outlive_a_reused_key_id(tmp_path: Path) -> None:
    """A new key under the old id judges the token anew."""
    clock, path = Clock(), tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(EC, "ec")))
    verifier = _verifier(path, clock)
    assert await verifier.verify(GOOD) == GRANT
    path.write_bytes(key_set(jwk(ec.generate_private_key(ec.SECP256R1()), "ec")))
    clock.seconds += jwks.MAX_AGE_SECONDS
    assert await verifier.verify(GOOD) is None


async def test_signatures_are_verified_once(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer sends the same token with every record; only the first costs a verification."""
    assert await verifier.verify(GOOD) == GRANT

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("verified again")

    monkeypatch.setattr(jwt, "decode", fail)
    assert await verifier.verify(GOOD) == GRANT


async def test_the_memory_of_tokens_is_bounded(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used token makes room, and nothing remembers a token itself."""
    monkeypatch.setattr(access_tokens, "CACHED_TOKENS", 2)
    signed = [token(ED, "EdDSA", "ed", exp=second) for second in range(3)]
    for each in (signed[0], signed[1], signed[0], signed[2]):
        assert await verifier.verify(each) is not None
    kept = {hashlib.sha256(each.encode()).digest() for each in (signed[0], signed[2])}
    assert set(verifier._verified) == kept


class _Keys:
    """A key server that counts requests and can be down."""

    def __init__(self) -> None:
        self.requests = 0
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        self.requests += 1
        return web.Response(body=key_set(jwk(EC, "ec")), status=self.status)


@pytest.fixture
async def keys() -> AsyncIterator[tuple[_Keys, str]]:
    """The key server, and its URL."""
    served = _Keys()
    app = web.Application()
    app.router.add_get("/", served.answer)
    async with TestServer(app, host="127.0.0.1") as running:
        yield served, str(running.make_url("/"))


async def test_fifty_concurrent_verifications_fetch_once(keys: tuple[_Keys, str]) -> None:
    """A batch of records after start costs the key server one request."""
    served, url = keys
    verifier = _verifier(url)
    assert await asyncio.gather(*(verifier.verify(GOOD) for _ in range(50))) == [GRANT] * 50
    assert served.requests == 1


async def test_a_token_is_never_refused_because_the_key_server_is_down(keys: tuple[_Keys, str]) -> None:
    """The lane waits, and when the server is back the token is good."""
    served, url = keys
    clock = Clock()
    verifier = _verifier(url, clock)
    served.status = 503
    with pytest.raises(KeysUnavailable):
        await verifier.verify(GOOD)
    served.status = 200
    clock.seconds += jwks.FAILED_SECONDS
    assert await verifier.verify(GOOD) == GRANT


async def test_malformed_tokens_do_not_wait_for_the_key_server(keys: tuple[_Keys, str]) -> None:
    """What can never be good is refused at once, whether the keys are there or not."""
    served, url = keys
    assert await _verifier(url).verify(FORGERIES["hmac-with-public-key"]) is None
    assert await _verifier(url).verify("garbage") is None
    assert served.requests == 0
