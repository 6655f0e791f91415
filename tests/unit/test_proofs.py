"""Signatures are verified once, after all that is cheaper, and never for another record; the event loop goes on."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.unit.builders import LIMITS, NOW_MS, as_json, body, command
from tests.unit.signing_builders import P_256, RFC_8037, claims, judge, jws, key_id, known, signed
from worker.auth import signatures as module
from worker.auth.signatures import AT_ONCE, REMEMBERED, Verifier
from worker.domain.command import Command, Signature
from worker.domain.outcomes import Created, SignatureProblem, Unauthorized
from worker.messages.envelope import open_envelope


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Digests of the signatures that were verified, in order."""
    seen: list[bytes] = []
    is_right = module.is_right

    def counted(signature: Signature, key: module._Key) -> bool:
        seen.append(signature.digest)
        return is_right(signature, key)

    monkeypatch.setattr(module, "is_right", counted)
    return seen


def _command(header: str) -> Command:
    return open_envelope(signed(header), LIMITS).command


@pytest.mark.parametrize(
    "header",
    ["x", jws(claims(aud="x")), jws(claims(exp=1)), jws(claims(exp=10**12)), jws(kid="k" * 43)],
    ids=range(5),
)
def test_what_is_refused_anyway_is_not_verified(verified: list[bytes], header: str) -> None:
    """A forger costs no more than he would without a signature."""
    assert isinstance(judge(signed(header)), Unauthorized)
    assert verified == []


def test_a_bearer_command_has_nothing_to_prove(verified: list[bytes]) -> None:
    """Nothing happens to it."""
    world = known()
    asyncio.run(Verifier().make_ready([command()] * 3, world))
    assert (world.proven, verified) == (set(), [])


def test_a_proof_is_remembered_for_the_same_header_only(verified: list[bytes]) -> None:
    """The record that it is on is compared each time: a remembered proof is none of another body, key or day."""
    verifier, good = Verifier(), signed(jws())
    assert isinstance(judge(good, verifier=verifier), Created)
    assert isinstance(judge(good._replace(offset=8), verifier=verifier), Created)
    assert len(verified) == 1
    for stolen in (
        good._replace(value=as_json(body(confirmOverage=True))),
        good._replace(headers=good.headers[:1]),
        good._replace(topic="other"),
    ):
        assert judge(stolen, verifier=verifier) == Unauthorized(SignatureProblem.MISMATCH)
    late = good._replace(timestamp_ms=NOW_MS + 3_600_000)
    assert judge(late, verifier=verifier) == Unauthorized(SignatureProblem.EXPIRED)
    assert len(verified) == 1


def test_a_proof_ends_with_its_key(verified: list[bytes]) -> None:
    """Revoked or gone; and under other key bytes, which somebody may have written under that id, it is made anew."""
    verifier, good = Verifier(), signed(jws())
    assert isinstance(judge(good, verifier=verifier), Created)
    assert judge(good, known(RFC_8037, revoked_ms=0), verifier) == Unauthorized(SignatureProblem.KEY_NOT_VALID)
    assert judge(good, known(P_256), verifier) == Unauthorized(SignatureProblem.KEY_UNKNOWN)
    world = known()
    keys = world.signing_keys
    keys[key_id(RFC_8037)] = keys[key_id(RFC_8037)]._replace(jwk=keys[key_id(P_256)].jwk)
    assert judge(good, world, verifier) == Unauthorized(SignatureProblem.WRONG)
    assert len(verified) == 2


def test_what_is_wrong_is_not_remembered(verified: list[bytes]) -> None:
    """Forgeries push no proof out."""
    verifier = Verifier()
    forged = jws().rpartition(".")[0] + "." + "A" * 86
    for _ in range(2):
        assert judge(signed(forged), verifier=verifier) == Unauthorized(SignatureProblem.WRONG)
    assert len(verified) == 2
    assert verifier._proofs == {}


def test_proofs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was used least lately goes."""
    assert REMEMBERED == 8_192
    monkeypatch.setattr(module, "REMEMBERED", 2)
    verifier = Verifier()
    first, second, third = (_command(jws(claims(iat=number))) for number in range(3))
    asyncio.run(verifier.make_ready([first, second, first, third], known()))
    kept = [one.credentials.digest for one in (first, third)]  # type: ignore[union-attr]  # both are signed
    assert [*verifier._proofs] == kept


@pytest.mark.parametrize(("count", "pauses"), [(AT_ONCE - 1, 0), (AT_ONCE, 1), (5 * AT_ONCE, 5)])
def test_the_event_loop_goes_on_after_each_hundred(count: int, pauses: int) -> None:
    """Whoever waits for it is let in between; commands whose proof is remembered do not count."""
    assert asyncio.run(_ticks([_command(jws(claims(iat=number))) for number in range(count)])) == pauses
    assert asyncio.run(_ticks([_command(jws())] * count)) == 0


async def _ticks(commands: Sequence[Command]) -> int:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    before = ticks
    await Verifier().make_ready(commands, known())
    ticking.cancel()
    return ticks - before


def test_a_stored_key_that_is_refused_today_verifies_nothing() -> None:
    """Its commands are refused, and the lane goes on."""
    world, id = known(), key_id(RFC_8037)
    jwk = as_json({"crv": "Ed25519", "kty": "OKP", "x": "AQ" + "A" * 41}).decode()
    world.signing_keys[id] = world.signing_keys[id]._replace(jwk=jwk)
    asyncio.run(Verifier().make_ready([_command(jws())], world))
    assert world.proven == set()
