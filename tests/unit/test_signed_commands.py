"""Rule 2 of signed commands: each claim wrong alone gives its reason, and nothing passes that was signed otherwise."""

import json
import string
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.unit.builders import BEARER, COMPANY, NOW_MS, OTHER_COMPANY, as_json, body, command, facts
from tests.unit.signing_builders import (
    KEY,
    NOW,
    P_256,
    RFC_8037,
    VALUE,
    PrivateKey,
    claims,
    judge,
    jws,
    key_id,
    known,
    signed,
)
from worker.domain.command import AccessToken, Signature
from worker.domain.decide import decide
from worker.domain.outcomes import (
    Created,
    CredentialsProblem,
    Forbidden,
    MalformedIdempotencyKey,
    Outcome,
    Unauthorized,
    Unreadable,
)
from worker.domain.timestamps import DAY_MS
from worker.messages.events import Header
from worker.messages.signature import Signed, read_signature
from worker.tools.common.signer import NotASigningKey, Signer

DAY = DAY_MS // 1000
STRUCTURED: Header = ("content-type", b"application/cloudevents+json; charset=utf-8")
CT = "application/cloudevents+json"
EVENT = as_json({"specversion": "1.0", "id": "1", "source": "/mes", "type": "create", "data": body()})

PAGE_VALUE = (
    b'{"productId":"6650a1b2c3d4e5f6a7b8c9d0","gs1":{"gtin":"04012345000016","serialNumber":"BP-48V-100-000001"}}'
)
VECTOR = (
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImtQcktfcW14VldhWVZBOXd3QkY2SXVvM3ZWeno3VHhIQ1R3WEJ5Z3JTNGsiLCJ0eXAiOiJkcHAtY29tbWFuZCtq"
    "d3QifQ.eyJhdWQiOiJkcHAucGFzc3BvcnQuY3JlYXRlLnYxIiwiZXhwIjoxNzc4MzI0NDAwLCJrZXkiOiJvcmRlci00NzExLXVuaXQtMSIsInNoYTI1N"
    "iI6Ik16TUt5MGxwX29Hd0RHVW9UT29GNzlwRU1RNzNkWldlQjBXWjVvbzJKQTQifQ.PaYrkFZA66mIIBgSrWrnms0EYDX0ShcGuvwRPPApqtcae0j7ux"
    "VixwKCz_SGNNA0mR6Ze8flm7OFEzNqDg7QBw"
)


def reason(outcome: Outcome) -> str:
    """Without `signature-`; `created` for what passed."""
    if isinstance(outcome, Created):
        return "created"
    assert isinstance(outcome, Unauthorized), outcome
    return str(outcome.reason).removeprefix("signature-")


def test_the_vector() -> None:
    """Key of RFC 8037, the value of `schemas/sign.md`: our signer and PyJWT make the same bytes, and they are good."""
    signer = Signer(RFC_8037, "dpp.passport.create.v1")
    (header,) = signer.headers(PAGE_VALUE, KEY, None, NOW_MS / 1000)
    assert header == ("jws-signature", VECTOR.encode())
    told = {"aud": "dpp.passport.create.v1", "exp": 1778324400, "key": KEY, "sha256": claims()["sha256"]}
    named = {"kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "typ": "dpp-command+jwt"}
    assert jwt.encode(told, RFC_8037, "EdDSA", named, sort_headers=True) == VECTOR
    assert reason(judge(signed(VECTOR, value=PAGE_VALUE))) == "created"


@pytest.mark.parametrize("key", [RFC_8037, P_256], ids=["Ed25519", "P-256"])
def test_a_signature_is_as_good_as_an_api_key(key: PrivateKey) -> None:
    """It says whose command it is, carries the scope, and counts where a bearer secret is beside it."""
    for record in (signed(jws(key=key)), signed(jws(key=key), BEARER, ("Idempotency-Key", KEY.encode()))):
        outcome = judge(record, known(key, company_id=COMPANY))
        assert isinstance(outcome, Created)
        assert outcome.company_id == COMPANY


def test_ed25519_has_two_names() -> None:
    """That of RFC 8037, and that of RFC 9864."""
    assert reason(judge(signed(_resigned(alg="Ed25519")))) == "created"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": "dpp.passport.create.v2"}, "mismatch"),
        ({"aud": ["x", "dpp.passport.create.v1"]}, "created"),
        ({"aud": ["x"]}, "mismatch"),
        ({"aud": []}, "mismatch"),
        ({"aud": 1}, "mismatch"),
        ({"aud": None}, "mismatch"),
        ({"sha256": claims()["sha256"].lower()}, "mismatch"),
        ({"sha256": claims()["sha256"] + "="}, "mismatch"),
        ({"sha256": sha256(VALUE).hexdigest()}, "mismatch"),
        ({"sha256": None}, "mismatch"),
        ({"key": "order-4711-unit-2"}, "mismatch"),
        ({"key": None}, "mismatch"),
        ({"key": [KEY]}, "mismatch"),
        ({"ct": CT}, "mismatch"),
        ({"ct": "application/json"}, "created"),
        ({"exp": NOW}, "expired"),
        ({"exp": NOW + 0.001}, "created"),
        ({"exp": NOW + 0.0005}, "created"),
        ({"exp": NOW - 0.001}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": -(10**400)}, "expired"),
        ({"exp": NOW + DAY}, "created"),
        ({"exp": NOW + DAY + 0.001}, "too-long-lived"),
        ({"exp": NOW + DAY + 1}, "too-long-lived"),
        ({"exp": 1e300}, "too-long-lived"),
        ({"exp": 10**400}, "too-long-lived"),
        ({"exp": None}, "malformed"),
        ({"exp": str(NOW + 60)}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"nbf": NOW}, "created"),
        ({"nbf": NOW + 0.001}, "expired"),
        ({"nbf": NOW + 1}, "expired"),
        ({"nbf": NOW - 10**6}, "created"),
        ({"nbf": "0"}, "malformed"),
        ({"iat": NOW + 5, "iss": 1, "jti": "x"}, "created"),
    ],
)
def test_each_claim_alone(changes: dict[str, object], expected: str) -> None:
    """All others are right."""
    assert reason(judge(signed(jws(claims(**changes))))) == expected


@pytest.mark.parametrize(
    ("headers", "told", "expected"),
    [
        ([], {"key": None}, "created"),
        ([], {}, "mismatch"),
        ([("IDEMPOTENCY-KEY", KEY.encode())], {}, "created"),
        ([("idempotency-key", b"\x01")], {"key": "\x01"}, "mismatch"),
        ([("idempotency-key", b"\x01")], {"key": None}, "mismatch"),
        ([("idempotency-key", None)], {"key": None}, "mismatch"),
        ([("idempotency-key", KEY.encode())] * 2, {}, "mismatch"),
        ([("idempotency-key", b"")], {"key": ""}, "mismatch"),
    ],
)
def test_the_key_is_the_header(headers: list[Header], told: dict[str, object], expected: str) -> None:
    """Absent iff the header is; a malformed header equals nothing."""
    assert reason(judge(signed(jws(claims(**told)), *(headers or [("x", b"")])))) == expected


@pytest.mark.parametrize(("ct", "header", "expected"), [
    (CT, STRUCTURED, "created"),
    (None, STRUCTURED, "mismatch"),
    ("application/json", STRUCTURED, "mismatch"),
    (CT, ("content-type", b"application/json"), "mismatch"),
    (None, ("content-type", b"application/json"), "created"),
    (None, ("ce_specversion", b"1.0"), "created"),
])  # fmt: skip
def test_the_content_type_is_bound_where_it_changes_what_a_value_means(
    ct: str | None, header: Header, expected: str
) -> None:
    """A structured event's value is signed whole, as Kafka holds it."""
    value = EVENT if header is STRUCTURED else VALUE
    digest = claims()["sha256"] if value is VALUE else _text(sha256(value).digest())
    told = claims(ct=ct, sha256=digest)
    assert reason(judge(signed(jws(told), ("idempotency-key", KEY.encode()), header, value=value))) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"a.b",
        b"a.b.c.d",
        b"\xff",
        f"{jws()}\n".encode(),
        f" {jws()}".encode(),
        f"Bearer {jws()}".encode(),
        jws().replace(".", "=.", 1).encode(),
        jws(typ=None).encode(),
        jws(typ="JWT").encode(),
        jws(typ="application/dpp-command+jwt").encode(),
        jws(kid=None).encode(),
        jws(crit=["exp"], exp=1).encode(),
        jws(crit=[]).encode(),
        jws(b"[]").encode(),
        jws(b"{").encode(),
        jws(b'{"exp":1,"exp":2}').encode(),
        jws(b"\xef\xbb\xbf{}").encode(),
        jws(b'{"exp":1e999}').encode(),
        f"{jws()}{'A' * 8192}".encode(),
    ],
    ids=range(21),
)
def test_what_is_no_signature_is_malformed(header: bytes | None) -> None:
    """Of any of these it is said; too long a header makes the record unreadable before."""
    outcome = judge(signed(header))
    if header is not None and len(header) > 8192:
        assert isinstance(outcome, Unreadable)
    else:
        assert reason(outcome) == "malformed"


def test_one_signature_a_record() -> None:
    """Two that are good are none."""
    again: Header = ("JWS-Signature", jws().encode())
    assert reason(judge(signed(jws(), again, ("idempotency-key", KEY.encode())))) == "malformed"


@pytest.mark.parametrize("name", ["jwk", "jku", "x5c", "x5u", "b64"])
def test_keys_that_a_header_brings_are_not_looked_at(name: str) -> None:
    """Nor is anything else that nobody marked as critical."""
    brought: dict[str, Any] = {"jwk": {"kty": "oct", "k": "AA"}, "jku": "x", "x5c": ["AA"], "x5u": 1, "b64": True}
    assert reason(judge(signed(jws(**{name: brought[name]})))) == "created"


@pytest.mark.parametrize("unknown", ["", "x", "k" * 43, key_id(P_256), "\x00", "\ud800"], ids=range(6))
def test_an_unknown_key(unknown: str) -> None:
    """Whatever text it is."""
    assert reason(judge(signed(_resigned(kid=unknown)), known(RFC_8037))) == "key-unknown"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"not_before_ms": NOW_MS}, "created"),
        ({"not_before_ms": NOW_MS + 1}, "key-not-valid"),
        ({"revoked_ms": NOW_MS}, "key-not-valid"),
        ({"revoked_ms": NOW_MS + 1}, "created"),
        ({"not_before_ms": NOW_MS, "revoked_ms": NOW_MS + 1}, "created"),
    ],
)
def test_a_key_is_good_between_its_moments(changes: dict[str, object], expected: str) -> None:
    """The first millisecond belongs to it, that of the revocation does not."""
    assert reason(judge(signed(jws()), known(**changes))) == expected


@pytest.mark.parametrize("key", [RFC_8037, P_256], ids=["Ed25519", "P-256"])
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "Ed25519", "HS256", "none", "ES256K", "eddsa", ""])
def test_the_key_says_which_algorithm_fits(key: PrivateKey, algorithm: str) -> None:
    """The header only repeats it (RFC 8725, section 3.1)."""
    fits = algorithm in (("EdDSA", "Ed25519") if key is RFC_8037 else ("ES256",))
    assert reason(judge(signed(_resigned(key, alg=algorithm)))) == ("created" if fits else "wrong")


def test_the_public_key_is_no_secret_of_an_hmac() -> None:
    """The oldest forgery there is (RFC 8725, section 2.1)."""
    header, payload = _part({"alg": "HS256", "kid": key_id(RFC_8037), "typ": "dpp-command+jwt"}), _part(claims())
    tag = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{header}.{payload}".encode(), RFC_8037.public_key().public_bytes_raw()
    )
    assert reason(judge(signed(f"{header}.{payload}.{_text(tag)}"))) == "wrong"


@pytest.mark.parametrize("key", [RFC_8037, P_256], ids=["Ed25519", "P-256"])
def test_no_character_can_be_another(key: PrivateKey) -> None:
    """Each one of the three parts, in place of it the next one of the alphabet: nothing passes."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    text = jws(key=key)
    for at, character in enumerate(text):
        other = "." if character == "." else alphabet[(alphabet.index(character) + 1) % 64]
        changed = f"{text[:at]}{other}{text[at + 1 :]}" if character != "." else f"{text[:at]}{text[at + 1 :]}"
        assert reason(judge(signed(changed))) != "created", at


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 70])
def test_a_signature_has_64_bytes(size: int) -> None:
    """None is no part at all; ASN.1, as other programs write ECDSA, is another form (RFC 7518, section 3.4)."""
    for key in (RFC_8037, P_256):
        head = jws(key=key).rpartition(".")[0]
        expected = "wrong" if size else "malformed"
        assert reason(judge(signed(f"{head}.{_text(b'0' * size)}"))) == expected
    assert reason(judge(signed(f"{jws(key=P_256).rpartition('.')[0]}.{_text(bytes(64))}"))) == "wrong"


def test_long_headers_are_not_remembered() -> None:
    """Anybody can send them. Seen to fail before: with a limit of a megabyte, 256 of them stayed in memory for good."""
    record = Signed("t", b"{}", None, has_key=False, is_structured=False)
    tracemalloc.start()
    for number in range(20):
        header = _resigned(kid=f"{number}" + "k" * 100_000).encode()
        assert isinstance(read_signature([header], record, len(header)), Signature)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000


def test_parts_of_two_records_do_not_go_together() -> None:
    """Header of one, claims of another, signature of either."""
    one, other = jws().split("."), jws(claims(exp=NOW + 60), Ed25519PrivateKey.generate()).split(".")
    for mixed in ((0, 1, 0), (0, 0, 1), (0, 1, 1)):
        text = ".".join((one, other)[choice][at] for at, choice in enumerate(mixed))
        assert reason(judge(signed(text))) == "wrong"
    assert reason(judge(signed(".".join(other)))) == "key-unknown"


def test_stolen_from_another_record() -> None:
    """Body, idempotency key, topic and day are bound; so is the key's company."""
    stolen = jws()
    assert reason(judge(signed(stolen, value=as_json(body(confirmOverage=True))))) == "mismatch"
    assert reason(judge(signed(stolen, ("idempotency-key", b"other")))) == "mismatch"
    assert reason(judge(signed(stolen)._replace(topic="other.topic"))) == "mismatch"
    assert reason(judge(signed(stolen, at_ms=NOW_MS + DAY_MS))) == "expired"
    assert reason(judge(signed(stolen), audience="eu-1")) == "mismatch"
    assert reason(judge(signed(jws(claims(aud="eu-1"))), audience="eu-1")) == "created"


def test_the_first_that_fails_answers() -> None:
    """All is wrong at first; each is mended in turn."""
    stranger = Ed25519PrivateKey.generate()
    told: dict[str, Any] = claims(aud="x", exp=NOW + 2 * DAY, nbf=NOW + DAY)
    world = known(RFC_8037, revoked_ms=0)
    steps: list[tuple[str, Callable[[], str]]] = [
        ("malformed", lambda: jws(told, stranger, crit=[])),
        ("key-unknown", lambda: jws(told, stranger)),
        ("key-not-valid", lambda: jws(told, stranger, kid=key_id(RFC_8037))),
        ("mismatch", lambda: jws(told, stranger, kid=key_id(RFC_8037))),
        ("expired", lambda: jws({**told, "aud": claims()["aud"]}, stranger, kid=key_id(RFC_8037))),
        ("too-long-lived", lambda: jws(claims(exp=NOW + 2 * DAY), stranger, kid=key_id(RFC_8037))),
        ("wrong", lambda: jws(claims(), stranger, kid=key_id(RFC_8037))),
        ("created", jws),
    ]
    for expected, make in steps:
        if expected == "mismatch":
            world = known(RFC_8037)
        assert reason(judge(signed(make()), world)) == expected


def test_rules_around_rule_2() -> None:
    """Rule 1 comes first; rule 4 never sees a signed command, whose key has to fit before."""
    assert isinstance(judge(signed("x", value=b"{")), Unreadable)
    assert isinstance(judge(signed(jws(), BEARER, BEARER)), Unreadable)
    assert not isinstance(judge(signed(jws(), ("idempotency-key", b"\x01"))), MalformedIdempotencyKey)


@pytest.mark.parametrize(("from_ms", "is_refused"), [(NOW_MS, True), (NOW_MS + 1, False), (0, True), (None, False)])
def test_a_company_that_has_moved_takes_no_bearer_secret(from_ms: int | None, is_refused: bool) -> None:
    """By the append time; signatures are good before and after, and unknown secrets stay unknown."""
    world = known()
    for company in (COMPANY, OTHER_COMPANY):
        world.companies[company] = world.companies[company]._replace(signatures_required_ms=from_ms)
    bearer = signed(None)._replace(headers=[BEARER])
    assert reason(judge(bearer, world)) == ("required" if is_refused else "created")
    assert reason(judge(signed(jws()), world)) == "created"
    for scopes, passes in ((frozenset({"passports:write"}), "created"), (frozenset[str](), Forbidden(COMPANY))):
        found = decide(command(credentials=AccessToken(COMPANY, scopes, NOW + 60.0, 0.0)), world)
        assert (reason(found) == "required") if is_refused else (found == passes or reason(found) == passes)
    unknown = bearer._replace(headers=[("authorization", b"Bearer tp_unknown")])
    assert judge(unknown, world) == Unauthorized()
    assert judge(bearer._replace(headers=[]), world) == Unauthorized()


@pytest.mark.parametrize(("closed_ms", "is_refused"), [(NOW_MS, True), (NOW_MS + 1, False), (0, True), (None, False)])
def test_a_closed_company_sends_nothing(closed_ms: int | None, is_refused: bool) -> None:
    """By the append time, whatever its credentials, and without a reason: it is as unknown as any other sender."""
    world = known()
    for company in (COMPANY, OTHER_COMPANY):
        world.companies[company] = world.companies[company]._replace(closed_ms=closed_ms)
    token = command(credentials=AccessToken(COMPANY, frozenset({"passports:write"}), NOW + 60.0, 0.0))
    outcomes = [judge(record, world) for record in (signed(None)._replace(headers=[BEARER]), signed(jws()))]
    for outcome in (*outcomes, decide(token, world)):
        assert outcome == Unauthorized() if is_refused else isinstance(outcome, Created)
    world.companies[COMPANY] = world.companies[COMPANY]._replace(channels=frozenset({"acme"}))
    refused = Unauthorized() if is_refused else Unauthorized(CredentialsProblem.WRONG_CHANNEL)
    assert decide(token, world) == refused


def test_a_bearer_command_that_is_good_looks_as_before() -> None:
    """A world without keys."""
    assert reason(judge(signed(None)._replace(headers=[BEARER]), facts())) == "created"


@pytest.mark.parametrize("pem", [b"", b"x"])
def test_a_signer_takes_only_keys_that_can_sign(pem: bytes) -> None:
    """Not those of other curves."""
    other = generate_private_key(SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(NotASigningKey):
        Signer.from_pem(pem, "t")
    with pytest.raises(NotASigningKey):
        Signer.from_pem(other, "t")


@pytest.mark.parametrize("key", [RFC_8037, generate_private_key(SECP256R1())], ids=["Ed25519", "P-256"])
@pytest.mark.parametrize("idempotency_key", [None, KEY, "ü\U0001f600"])
@pytest.mark.parametrize("content_type", [None, b"application/json", STRUCTURED[1]])
def test_what_the_signer_signs_is_good(
    key: PrivateKey, idempotency_key: str | None, content_type: bytes | None
) -> None:
    """For every shape of a record."""
    value = EVENT if content_type == STRUCTURED[1] else VALUE
    headers = Signer(key, claims()["aud"]).headers(value, idempotency_key, content_type, NOW)
    others = [] if idempotency_key is None else [("idempotency-key", idempotency_key.encode())]
    typed = [] if content_type is None else [("content-type", content_type)]
    record = signed(None, value=value)._replace(headers=[*headers, *others, *typed])
    assert reason(judge(record, known(key))) == "created"


def _part(members: object) -> str:
    return _text(json.dumps(members).encode("utf-8", "surrogatepass"))


def _text(data: bytes) -> str:
    return jwt.utils.base64url_encode(data).decode()


def _resigned(key: PrivateKey = RFC_8037, **header: object) -> str:
    """With a header that PyJWT would not write."""
    signer = Signer(key, "")
    signer._protected = _part({"alg": "x", "kid": key_id(key), "typ": "dpp-command+jwt", **header}).encode()
    return signer.sign(claims()).decode()
