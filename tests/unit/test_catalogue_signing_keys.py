"""Signing keys of a catalogue file: public ones that can verify, refused by the path of the member that is wrong."""

import json
import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.signing_builders import P_256, RFC_8037, key_id
from worker.messages.signature import to_base64url
from worker.tools.common.catalogue.file import CatalogueError, parse_catalogue
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.catalogue.rows import rows_of
from worker.tools.common.jwk import members_of, read_jwk, thumbprint

COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
JWK, EC_JWK = members_of(RFC_8037.public_key()), members_of(P_256.public_key())
X = "Expected 32 bytes in base64url without padding, 43 characters"
COORDINATE = "Expected a coordinate below the prime of P-256's field"
MOMENT = "Expected an ISO 8601 date and time with a time zone, or null"
LEAKED = "Expected a public key, got a member of a private one: make another key, this one is no longer secret"
SECRET = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
KID = f"Expected the key's SHA-256 thumbprint (RFC 7638), {key_id(RFC_8037)}"
POINT = "Expected a point of prime order on the curve Ed25519"
PATH = "companies[0].signingKeys[0]"

PRIME = 2**255 - 19
"""Of the field of Ed25519 (RFC 8032, section 5.1); a key is y, with the lowest bit of x as bit 255."""
_Y_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
NO_POINTS = (2, PRIME, PRIME + 1, PRIME + 9, 2**255 - 1)
"""Not on the curve, or a second encoding of a point that is."""
SMALL_ORDER = (
    *(0, 2**255, 1, 1 + 2**255, PRIME - 1, PRIME - 1 + 2**255),
    *(y + sign for y in (_Y_OF_ORDER_8, PRIME - _Y_OF_ORDER_8) for sign in (0, 2**255)),
)
"""The eight points whose order divides 8; those with x = 0 with the other sign, too, which no encoder writes."""
MIXED_ORDER = tuple(
    int.from_bytes(bytes.fromhex(key), "little")
    for key in (
        "98519eadf35b995233b51b5cd23e9cc5a28b639b5a4af0ec903cb960d81b7819",
        "9bad33f580df7ecc49df5342bac8145d5bedc40f573d1b067f3c4ce449689a15",
        "da99e28ba529cdde35a25fba9059e78ecaee239f99755b9b1aa4f65df00803e2",
        "9599999999999999999999999999999999999999999999999999999999999999",
        "55ae61520ca466adcc4ae4a32dc1633a5d749c64a5b50f136fc3469f27e487e6",
        "5252cc0a7f208133b620acbd4537eba2a4123bf0a8c2e4f980c3b31bb69765ea",
        "13661d745ad63221ca5da0456fa618713511dc60668aa464e55b09a20ff7fc1d",
    )
)
"""The base point plus each point of small order: 8 times such a point is not zero, yet its order is not prime.

The fourth has order twice the prime, which libsodium took for a good key up to 1.0.20 (CVE-2025-69277).
"""


def _text(*keys: object, **company: object) -> str:
    row = {"_id": COMPANY, "name": "n", "plan": "p", "subscription": None, "signingKeys": keys, **company}
    return json.dumps({"companies": [row]})


def _parsed(*keys: object, **company: object) -> Catalogue:
    return parse_catalogue(_text(*keys, **company))


_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
"""Of P-256 (SEC 2, section 2.4.2)."""


def _p_256(x: int) -> dict[str, str]:
    """The point with x = 0, however that is written."""
    x_text, y_text = (to_base64url(one.to_bytes(32)).decode() for one in (x, pow(_B, (_P + 1) // 4, _P)))
    return {"kty": "EC", "crv": "P-256", "x": x_text, "y": y_text}


def _problems(*keys: object, **company: object) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        _parsed(*keys, **company)
    return caught.value.problems


def _edwards(number: int) -> dict[str, str]:
    return {**JWK, "x": to_base64url(number.to_bytes(32, "little")).decode()}


def test_both_kinds_of_keys_are_taken() -> None:
    """The id is RFC 7638's, as RFC 8037 A.3 computes it; what a JWK says besides is dropped."""
    said = {"kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "alg": "Ed25519", "use": "sig", "x5c": ["AA"]}
    catalogue = _parsed({"jwk": {**JWK, **said}, "label": "mes"}, {"jwk": {**EC_JWK, "alg": "ES256"}})
    first, second = catalogue.companies[0].signing_keys
    assert (first.jwk.key_id, dict(first.jwk.members)) == (said["kid"], JWK)
    assert (second.jwk.key_id, dict(second.jwk.members)) == (key_id(P_256), EC_JWK)
    assert (first.label, first.not_before, first.revoked_at, second.label) == ("mes", None, None, "")


def test_a_thumbprint_of_p_256() -> None:
    """Members in the order of their names, without white space (RFC 7638, section 3)."""
    assert thumbprint(EC_JWK) == thumbprint(dict(reversed(EC_JWK.items())))
    assert thumbprint(EC_JWK) != thumbprint({**EC_JWK, "crv": "P-384"})


@pytest.mark.parametrize(
    ("jwk", "problem"),
    [
        (None, ".jwk: Expected a public key as a JWK, an object"),
        ("x", ".jwk: Expected a public key as a JWK, an object"),
        ({**JWK, "d": SECRET}, f".jwk.d: {LEAKED}"),
        ({**EC_JWK, "d": SECRET}, f".jwk.d: {LEAKED}"),
        ({"kty": "oct", "k": SECRET}, f".jwk.k: {LEAKED}"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB", "p": SECRET}, f".jwk.p: {LEAKED}"),
        ({}, ".jwk.kty: Expected OKP (for Ed25519) or EC (for P-256)"),
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, ".jwk.kty: Expected OKP (for Ed25519) or EC (for P-256)"),
        ({"kty": ["OKP"]}, ".jwk.kty: Expected OKP (for Ed25519) or EC (for P-256)"),
        ({**JWK, "crv": "X25519"}, ".jwk.crv: Expected Ed25519"),
        ({**JWK, "crv": "Ed448"}, ".jwk.crv: Expected Ed25519"),
        ({**EC_JWK, "crv": "P-384"}, ".jwk.crv: Expected P-256"),
        ({**EC_JWK, "crv": "secp256k1"}, ".jwk.crv: Expected P-256"),
        ({"kty": "OKP", "crv": "Ed25519"}, f".jwk.x: {X}"),
        ({**JWK, "x": JWK["x"] + "="}, f".jwk.x: {X}"),
        ({**JWK, "x": JWK["x"][:-1] + "p"}, f".jwk.x: {X}"),
        ({**JWK, "x": JWK["x"][:-1] + "é"}, f".jwk.x: {X}"),
        ({**EC_JWK, "y": 1}, f".jwk.y: {X}"),
        ({**EC_JWK, "y": EC_JWK["x"]}, ".jwk: Expected a point on the curve P-256"),
        ({**EC_JWK, "x": "A" * 43, "y": "A" * 43}, ".jwk: Expected a point on the curve P-256"),
        (_p_256(_P), f".jwk.x: {COORDINATE}"),
        ({**_p_256(0), "y": _p_256(2**256 - 1)["x"]}, f".jwk.y: {COORDINATE}"),
        ({**JWK, "kid": key_id(P_256)}, f".jwk.kid: {KID}"),
        ({**JWK, "alg": "ES256"}, ".jwk.alg: Expected EdDSA or Ed25519"),
        ({**JWK, "alg": ["EdDSA"]}, ".jwk.alg: Expected EdDSA or Ed25519"),
        ({**JWK, "use": "enc"}, ".jwk.use: Expected sig"),
    ],
    ids=range(26),
)  # fmt: skip
def test_what_is_no_such_key_is_refused_by_its_path(jwk: object, problem: str) -> None:
    """And no member's value is repeated, least of all a private one's."""
    problems = _problems({"jwk": jwk})
    assert problems == [f"{PATH}{problem}"]
    assert SECRET not in problems[0]


@pytest.mark.parametrize("number", [*NO_POINTS, *SMALL_ORDER, *MIXED_ORDER])
def test_a_key_of_ed25519_is_a_point_of_prime_order(number: int) -> None:
    """Whatever curve, encoding or order is wrong, the answer is the same."""
    assert _problems({"jwk": _edwards(number)}) == [f"{PATH}.jwk.x: {POINT}"]


def test_the_fields_of_a_key() -> None:
    """Each with its path, all at once; so is what signatures are required from."""
    key = {"jwk": JWK, "label": 1, "notBefore": "2026-01-01", "revokedAt": 5, "kid": "x"}
    assert sorted(_problems(key, {}, signaturesRequiredFrom="now")) == [
        f"companies[0].signaturesRequiredFrom: {MOMENT}",
        f"{PATH}.kid: Expected no fields other than jwk, label, notBefore, revokedAt",
        f"{PATH}.label: Expected text without control characters, got a number (text that looks like one needs quotes)",
        f"{PATH}.notBefore: {MOMENT}",
        f"{PATH}.revokedAt: {MOMENT}",
        "companies[0].signingKeys[1].jwk: Required",
    ]


def test_a_key_stands_once_in_a_file() -> None:
    """However it is written."""
    assert _problems({"jwk": JWK}, {"jwk": {**JWK, "kid": key_id(RFC_8037)}}) == [
        "companies[0].signingKeys[1]: Expected a unique value, got that of companies[0].signingKeys[0]"
    ]


def test_yaml_times_are_moments() -> None:
    """Without quotes, too."""
    text = (
        f"companies: [{{_id: {COMPANY}, name: n, plan: p, subscription: null, "
        f"signaturesRequiredFrom: 2026-05-09T10:00:00Z, signingKeys: [{{jwk: {json.dumps(JWK)}, "
        "notBefore: 2026-05-09T10:00:00Z, revokedAt: 2026-05-09T11:00:00+00:00}]}]"
    )
    company = parse_catalogue(text, ".yaml").companies[0]
    assert company.signatures_required_from == company.signing_keys[0].not_before
    assert company.signing_keys[0].revoked_at is not None


@pytest.mark.parametrize(
    ("key", "company", "expected"),
    [
        ({}, {}, ({}, {})),
        ({"label": "", "notBefore": None}, {"signaturesRequiredFrom": None},
         ({"label": "", "notBefore": None}, {"signaturesRequiredFrom": None})),
        ({"revokedAt": "2026-05-09T12:00:00+02:00"}, {"signaturesRequiredFrom": "2026-05-09T10:00:00Z"},
         ({"revokedAt": "2026-05-09T10:00:00Z"}, {"signaturesRequiredFrom": "2026-05-09T10:00:00Z"})),
    ],
)  # fmt: skip
def test_rows_have_what_the_file_says(
    key: dict[str, Any], company: dict[str, Any], expected: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """What it leaves out is no difference to anything."""
    rows = {row.kind: row for row in rows_of(_parsed({"jwk": JWK, **key}, **company))}
    plain: dict[str, Any] = {"_id": COMPANY, "name": "n", "plan": "p", "subscription": None, "prefill": {}}
    own: dict[str, Any] = {**plain, "channels": None}
    assert rows["company"].values == {**own, **expected[1]}
    signing_key = rows["signing-key"]
    assert (signing_key.id, signing_key.company_id) == (key_id(RFC_8037), COMPANY)
    assert signing_key.values == {"jwk": {**JWK, "kid": key_id(RFC_8037)}, **expected[0]}


def test_every_key_that_is_made_is_taken_and_few_other_bytes_are() -> None:
    """OpenSSL itself takes any 32 bytes. Half of them are a point, and one of eight points has prime order."""
    for _ in range(50):
        for key in (Ed25519PrivateKey.generate().public_key(), generate_private_key(SECP256R1()).public_key()):
            members = members_of(key)
            assert read_jwk(members).members == members
    taken = 0
    for _ in range(400):
        try:
            read_jwk(_edwards(secrets.randbits(255)))
            taken += 1
        except ValueError:
            pass
    assert 5 < taken < 60
