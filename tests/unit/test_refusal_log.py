"""Refusals in the log: one line each, until somebody sends more of them than anybody could read."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.builders import BEARER, LIMITS, LINK_BASE, command, record
from tests.unit.oauth_builders import AUDIENCE, ISSUER, jwk, key_set, rsa_key, token
from tests.unit.signing_builders import jws, signed
from tests.unit.test_events import REFUSALS as BODIES
from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import JwksSource
from worker.domain.outcomes import Forbidden, Unauthorized
from worker.messages.envelope import open_envelope
from worker.messages.events import Answer, Header, describe
from worker.observability.turn_log import A_SECOND, ALL_A_SECOND, RefusalLog
from worker.stream.command_reader import CommandReader

UNAUTHORIZED = describe(command(), Unauthorized(), LINK_BASE)
FORBIDDEN = describe(command(), Forbidden("c"), LINK_BASE)


class Time:
    """A clock that stands until it is moved; what was asked for later is done when its time has come."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """As the event loop does it."""
        self._waiting.append((self.now + seconds, work))

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        due, self._waiting = self._waiting, []
        for at, work in due:
            work() if at <= self.now else self._waiting.append((at, work))


def _tell(told: RefusalLog, answer: Answer, times: int) -> None:
    for _ in range(times):
        told.tell("t", 0, answer, command())


def _counted(lines: list[Any]) -> Counter[tuple[str, str]]:
    """Lines by event and error; one that tells a number counts as that."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in lines:
        error = line["error"] if "error" in line else "Unauthorized" if "Unauthorized" in line["body"] else "Forbidden"
        counted[line["event"], error] += line.get("count", 1)
    return counted


def test_a_flood_is_told_by_its_first_lines_and_a_number() -> None:
    """A second and a kind: others are not held up by it. Seen to fail before: a thousand lines were written."""
    time = Time()
    told = RefusalLog(lambda: time.now, time.later)
    with capture_logs() as lines:
        _tell(told, UNAUTHORIZED, 1000)
        _tell(told, FORBIDDEN, 3)
        time.move(0.9)
        _tell(told, UNAUTHORIZED, 10)
        assert len(lines) == A_SECOND + 3
        time.move(0.1)
    assert _counted(lines) == {
        ("refusal", "Unauthorized"): 20,
        ("refusals_not_logged", "Unauthorized"): 990,
        ("refusal", "Forbidden"): 3,
    }
    assert lines[-1]["event"] == "refusals_not_logged"


def test_a_flood_does_not_hide_the_lines_of_another_company() -> None:
    """Seen to fail before: a kind of refusal had twenty lines a second, whoever sent them."""
    time = Time()
    told = RefusalLog(lambda: time.now, time.later)
    with capture_logs() as lines:
        _tell(told, FORBIDDEN, 1000)
        _tell(told, describe(command(), Forbidden("other"), LINK_BASE), 3)
        time.move(1.0)
    logged = Counter(line["company_id"] for line in lines if line["event"] == "refusal")
    assert logged == {"c": 20, "other": 3}
    assert lines[-1] == {
        "event": "refusals_not_logged",
        "log_level": "info",
        "company_id": "c",
        "topic": None,
        "error": "Forbidden",
        "count": 980,
    }


def test_a_flood_without_a_company_does_not_hide_the_lines_of_another_channel() -> None:
    """The topic is all that is known of who sends unknown keys."""
    time = Time()
    told = RefusalLog(lambda: time.now, time.later)
    with capture_logs() as lines:
        for topic, times in (("acme.t", 50), ("t", 2)):
            for _ in range(times):
                told.tell(topic, 0, UNAUTHORIZED, command())
        time.move(1.0)
    assert Counter(line["topic"] for line in lines if line["event"] == "refusal") == {"acme.t": 20, "t": 2}
    assert [(line["company_id"], line["topic"], line["count"]) for line in lines[22:]] == [(None, "acme.t", 30)]


def test_floods_of_many_companies_have_a_limit_together() -> None:
    """Neither lines nor numbers grow with the companies, and every refusal is in one of them."""
    time = Time()
    told = RefusalLog(lambda: time.now, time.later)
    with capture_logs() as lines:
        for number in range(1000):
            _tell(told, describe(command(), Forbidden(f"{number}"), LINK_BASE), 3)
        time.move(1.0)
    assert sum(line["event"] == "refusal" for line in lines) == ALL_A_SECOND
    assert len(lines) <= ALL_A_SECOND + 201
    assert sum(line.get("count", 1) for line in lines) == 3000


def test_the_next_second_has_lines_of_its_own() -> None:
    """And each flood one number, whatever comes first: the clock, the next refusal or the end of a lane."""
    time = Time()
    told = RefusalLog(lambda: time.now, lambda seconds, work: None)  # an event loop that is late
    with capture_logs() as lines:
        for _ in range(3):
            _tell(told, UNAUTHORIZED, 50)
            time.now += 1.0
        told.tell_numbers()
        told.tell_numbers()
    assert _counted(lines) == {("refusal", "Unauthorized"): 60, ("refusals_not_logged", "Unauthorized"): 90}


def test_few_refusals_have_a_line_each_for_ever() -> None:
    """Nothing is kept back where nobody sends too many."""
    time = Time()
    told = RefusalLog(lambda: time.now, time.later)
    with capture_logs() as lines:
        for _ in range(100):
            _tell(told, UNAUTHORIZED, 10)
            time.move(1.0)
    assert _counted(lines) == {("refusal", "Unauthorized"): 1000}


def test_refusals_of_one_kind_are_known_by_what_they_have_in_common() -> None:
    """Every kind is one, with its numbers and fields left out: nobody's input makes another."""
    time, errors = Time(), set()
    told = RefusalLog(lambda: time.now, time.later)
    for outcome, *_ in BODIES:
        with capture_logs() as lines:
            _tell(told, describe(command(), outcome, LINK_BASE), A_SECOND + 1)
            time.move(1.0)
        errors.add(lines[-1]["error"])
    assert errors == {
        "API rate limit",
        "Forbidden",
        "Idempotency-Key has already been used with a different request body. Use a new key for the new request, "
        "or reuse the original body.",
        "Product not found",
        "Serial number already exists for this GTIN",
        "This GTIN is already registered by another company. Contact support if this is an error.",
        "Unauthorized",
        "Unreadable command",
        "Validation error",
        "dpp_hard_block",
        "overage_required",
        "subscription_inactive",
    }


@pytest.fixture
def verifier(tmp_path: Path) -> TokenVerifier:
    """It knows one key."""
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(jwk(KEY, "rsa")))
    return TokenVerifier(JwksSource(str(file)), ISSUER, AUDIENCE, "company_id")


KEY = rsa_key()
GOOD = f"Bearer {token(KEY, 'RS256', 'rsa')}".encode()
FORGED = f"Bearer {token(rsa_key(), 'RS256', 'rsa')}".encode()


@pytest.mark.parametrize(
    ("values", "is_on", "seen"),
    [
        ([BEARER[1]], True, "api-key"),
        ([GOOD], True, "access-token"),
        ([FORGED], True, "unknown-access-token"),
        ([GOOD], False, "access-token-while-oauth-off"),
        ([], True, "none"),
        ([None], True, "none"),
        ([b"Basic dXNlcjpodW50ZXIy"], True, "unknown-scheme"),
        ([b"Bearer one two"], True, "malformed"),
        ([b"Bearer \xff"], True, "not-utf8"),
        ([BEARER[1], BEARER[1]], True, "repeated-header"),
    ],
)
async def test_the_kind_of_credentials_that_was_seen_is_told(
    verifier: TokenVerifier, values: list[bytes | None], is_on: bool, seen: str
) -> None:
    """And nothing of them. Seen to fail before: all but the first three were `none`, as was the fourth."""
    headers: list[Header] = [("authorization", value) for value in values]
    (one,) = await CommandReader(LIMITS, verifier if is_on else None).commands([record(headers=headers)])
    with capture_logs() as lines:
        RefusalLog().tell("t", 0, UNAUTHORIZED, one)
    assert [line["credentials"] for line in lines] == [seen]
    for value in values:
        secret = (value or b"").split()[-1:]
        assert not secret or secret[0].decode(errors="replace") not in str(lines)


@pytest.mark.parametrize(("signature", "seen"), [("x", "malformed-signature"), (jws(), "signature")], ids=range(2))
def test_a_signature_is_told_as_one(signature: str, seen: str) -> None:
    """Also where an API key is beside it."""
    one = open_envelope(signed(signature, BEARER), LIMITS).command
    with capture_logs() as lines:
        RefusalLog().tell("t", 0, UNAUTHORIZED, one)
    assert [line["credentials"] for line in lines] == [seen]
