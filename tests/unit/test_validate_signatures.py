"""`validate` signs commands, and says of a signature what the worker would say, with the claim that does not fit."""

import io
import json
from pathlib import Path

import pytest

from tests.unit.builders import LIMITS, TOPIC, as_json, body
from tests.unit.signing_builders import KEY, P_256, RFC_8037, VALUE, claims, jws
from tests.workbench import run_command
from worker.settings import Settings
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import timestamp
from worker.tools.common.jwk import members_of
from worker.tools.common.signer import Signer
from worker.tools.validate import signatures
from worker.tools.validate.signatures import check_of, not_checked, signed_header, signer_of, with_signatures
from worker.tools.validate.validation import NOT_CHECKED, checked_values

COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
AT = "2026-05-09T10:00:00Z"
SETTINGS = Settings(topic_commands=TOPIC)


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A file whose company has both keys, one of them revoked for years."""
    keys = [{"jwk": members_of(RFC_8037.public_key())}]
    revoked = {"jwk": members_of(P_256.public_key()), "revokedAt": "2020-01-01T00:00:00Z"}
    company = {"_id": COMPANY, "name": "n", "plan": "p", "subscription": None, "signingKeys": [*keys, revoked]}
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps({"companies": [company]}))
    return file


def _problems(signature: str, catalogue: Path | None, key: str | None = KEY, value: bytes = VALUE) -> list[str]:
    check = check_of(signature, SETTINGS, key, catalogue, timestamp("--at", AT))
    (found,) = with_signatures(checked_values(io.BytesIO(value), LIMITS), check, LIMITS)
    return [problem.removeprefix("jws-signature: ").partition(":")[0] for problem in found.problems]


@pytest.mark.parametrize(
    ("signature", "with_keys", "without"),
    [
        (jws(), [], []),
        (jws(key=P_256), ["signature-key-not-valid"], []),
        (jws(kid="x"), ["signature-key-unknown"], []),
        (jws(claims(aud="x")), ["signature-mismatch"], ["signature-mismatch"]),
        (jws(claims(exp=1)), ["signature-expired"], ["signature-expired"]),
        (jws(claims(exp=10**11)), ["signature-too-long-lived"], ["signature-too-long-lived"]),
        (jws()[:-4] + "AAAA", ["signature-wrong"], []),
        ("x", ["signature-malformed"], ["signature-malformed"]),
        ("\udcff", ["signature-malformed"], ["signature-malformed"]),
    ],
    ids=range(9),
)
def test_what_the_worker_would_say(catalogue: Path, signature: str, with_keys: list[str], without: list[str]) -> None:
    """With the keys of a catalogue all of it; without them what a signature says itself."""
    assert _problems(signature, catalogue) == with_keys
    assert _problems(signature, None) == without


@pytest.mark.parametrize(
    ("closed", "found"),
    [
        (None, []),
        ("2026-05-09T10:00:00.001Z", []),
        (AT, ["The worker answers 401: the catalogue says that the company is closed."]),
    ],
)
def test_a_closed_company_signs_for_nothing(
    catalogue: Path, tmp_path: Path, closed: str | None, found: list[str]
) -> None:
    """From the time on that the catalogue says. Seen to fail before: such a command was good, and got 401."""
    contents = json.loads(catalogue.read_text())
    contents["companies"][0]["closedAt"] = closed
    file = tmp_path / "closed.json"
    file.write_text(json.dumps(contents))
    assert _problems(jws(), file) == [text.partition(":")[0] for text in found]
    check = check_of(jws(), SETTINGS, KEY, file, timestamp("--at", AT))
    assert check is not None
    assert check.problem(VALUE, LIMITS) == next(iter(found), None)


def test_the_claim_that_does_not_fit_is_named(catalogue: Path) -> None:
    """Which the worker does not tell."""
    check = check_of(jws(), SETTINGS, "other", catalogue, None)
    assert check is not None
    assert (check.problem(VALUE, LIMITS) or "").endswith("The claim key does not fit.")
    other = check_of(jws(), SETTINGS, KEY, catalogue, None)
    assert other is not None
    assert (other.problem(VALUE + b" ", LIMITS) or "").endswith("The claim sha256 does not fit.")


def test_a_key_that_is_no_utf8_fits_no_signature(catalogue: Path) -> None:
    """As a shell hands bytes over; none is made for it, either."""
    assert _problems(jws(), catalogue, key="\udcff") == ["signature-mismatch"]
    with pytest.raises(BadUsage, match=r"^--idempotency-key: expected UTF-8"):
        signed_header(Signer(RFC_8037, TOPIC), VALUE, "\udcff", LIMITS)


def test_what_is_wrong_with_a_command_stays(catalogue: Path) -> None:
    """The signature's problem is one more."""
    assert _problems(jws(), catalogue, value=as_json(body(confirmOverage=1))) == [
        "confirmOverage",
        "signature-mismatch",
    ]


def test_what_was_not_checked_is_said(catalogue: Path) -> None:
    """Less with a signature, and less still with the keys."""
    assert not_checked(None) == NOT_CHECKED
    assert not_checked(check_of("x", SETTINGS, None, None, None)).startswith("Not checked: the key of the signature")
    assert not_checked(check_of("x", SETTINGS, None, catalogue, None)).startswith("Not checked: duplicates")


def test_bad_usage(tmp_path: Path) -> None:
    """Files that cannot be read, or have something else in them; options that say nothing alone."""
    with pytest.raises(BadUsage, match=r"^--signing-key: cannot read"):
        signer_of(tmp_path / "none.pem", TOPIC)
    with pytest.raises(BadUsage, match=r"^--catalogue: expected --signature"):
        check_of(None, SETTINGS, None, tmp_path, None)
    with pytest.raises(BadUsage, match=r"^--catalogue:\n"):
        check_of("x", SETTINGS, None, tmp_path / "none.yaml", None)
    other = tmp_path / "x.pem"
    other.write_text("x")
    with pytest.raises(BadUsage, match=r"^--signing-key: Expected a private key in PEM"):
        signer_of(other, TOPIC)


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_from_a_key_to_a_good_signature(tmp_path: Path, algorithm: str) -> None:
    """`keys generate` makes a file for its owner alone, and over none; no server is asked."""
    key, values, catalogue = tmp_path / "k.pem", tmp_path / "v.json", tmp_path / "c.json"
    values.write_bytes(VALUE)
    made = run_command("keys", "generate", str(key), "--algorithm", algorithm, "--label", "mes")
    assert (made.returncode, key.stat().st_mode & 0o777) == (0, 0o600)
    line = json.loads(made.stdout)
    assert line.keys() == {"jwk", "label"}
    company = {"_id": COMPANY, "name": "n", "plan": "p", "subscription": None, "signingKeys": [line]}
    catalogue.write_text(json.dumps({"companies": [company]}))
    signed = run_command("validate", str(values), "--signing-key", str(key), "--idempotency-key", "k")
    (first, *_) = signed.stdout.splitlines()
    signature = first.removeprefix("line 1: jws-signature: ")
    check = ("validate", str(values), "--signature", signature, "--catalogue", str(catalogue), "--idempotency-key")
    assert [run_command(*check, key).returncode for key in ("k", "other")] == [0, 1]
    assert run_command("keys", "generate", str(key)).returncode == 2
    assert "PRIVATE" not in made.stdout + made.stderr + signed.stdout + signed.stderr


def test_a_structured_event_is_signed_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is known by its look."""
    event = as_json({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": body()})
    header = signed_header(Signer(RFC_8037, TOPIC), event, None, LIMITS).removeprefix("jws-signature: ")
    check = check_of(header, SETTINGS, None, None, None)
    assert check is not None
    assert check.problem(event, LIMITS) is None
    monkeypatch.setattr(signatures, "is_cloud_event", lambda value, limits: False)
    assert "The claim ct does not fit." in (check.problem(event, LIMITS) or "")
