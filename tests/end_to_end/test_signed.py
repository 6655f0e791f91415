"""Signed commands through a real worker: every outcome, every refusal, and keys that change while it runs."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.outcomes import BLOCKED, FULL, GOOD, LIMITED, OTHER, UNPAID, check_outcomes, commands, prepare
from tests.signing import add_signing_key, signed, signer_of
from tests.workbench import Result, Workbench, run_command, tenant

TENANTS = (GOOD, OTHER, FULL, BLOCKED, LIMITED, UNPAID)


def _by_offset(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda one: int(one.cause.rpartition("/")[2]))


def _reason(result: Result) -> object:
    """Of a refusal by rule 2; else how it was answered."""
    body = result.body
    if body.get("error") != "Unauthorized":
        return body["status"]
    assert list(body) == ["error", "details", "status"] or list(body) == ["error", "status"]
    assert (body["status"], result.header("ce_companyid")) == (401, None)
    details: Any = body.get("details", {"reason": None})
    return details["reason"]


def _signed(bench: Workbench, command: dict[str, Any]) -> dict[str, Any]:
    """By whoever has its API key; what has none of them, or no well-formed key, stays as it is."""
    sent = dict(command["headers"])
    owner = next((one for one in TENANTS if one.authorization == sent.get("authorization")), None)
    if owner is None or command["value"] is None or sent.get("idempotency-key") == b"\x01":
        return command
    return signed(command, signer_of(owner, bench.settings.topic_commands))


async def test_every_outcome_and_its_repetition(bench: Workbench, tmp_path: Path) -> None:
    """As with API keys; an operator's replay brings each answer again, byte for byte, whatever became of the keys."""
    await prepare(bench)
    for one in TENANTS:
        await add_signing_key(bench, one)
    worker = bench.start_worker(tmp_path / "worker.log")
    sent = [{**_signed(bench, one), "partition": 0} for one in commands(bench)]
    assert sum(name == "jws-signature" for one in sent for name, _ in one["headers"]) == 16
    bench.publish(sent)
    results = _by_offset(await bench.wait_for_results(len(sent)))
    check_outcomes(bench, results)
    connection = await bench.connect()
    await connection.execute("UPDATE signing_key SET revoked_at = '2020-01-01'")
    await connection.close()
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    await check_invariants(bench)
    replayed = await ask(bench, "replay", "--rate", "0", "--execute", "--reason", "x")
    assert replayed.code == 0, replayed
    twice: dict[str, set[tuple[object, ...]]] = {}
    for result in await bench.wait_for_results(2 * len(sent)):
        twice.setdefault(result.cause, set()).add((result.topic, result.key, result.value, result.headers))
    assert [len(found) for found in twice.values()] == [1] * len(sent)


async def test_each_refusal_and_each_theft(bench: Workbench, tmp_path: Path) -> None:
    """A signature that was seen on the topic opens nothing else: another body, key, topic, day or company's key."""
    one, topic = tenant(1), bench.settings.topic_commands
    signer, stranger = signer_of(one, topic), signer_of(tenant(2), topic)
    await add_signing_key(bench, one)
    good = signed(bench.command(one, 1, "a", key="k"), signer)
    header = dict(good["headers"])["jws-signature"]

    def with_header(command: dict[str, Any], signature: bytes | None) -> dict[str, Any]:
        rest = [other for other in command["headers"] if other[0] not in ("authorization", "jws-signature")]
        return {**command, "headers": [("jws-signature", signature), *rest]}

    now = time.time()
    head, _, _ = header.rpartition(b".")
    cases: list[tuple[dict[str, Any], object]] = [
        (good, "draft"),
        (with_header(bench.command(one, 1, "b", key="k"), header), "signature-mismatch"),
        (with_header(bench.command(one, 1, "a", key="k2"), header), "signature-mismatch"),
        (with_header(bench.command(one, 1, "a"), header), "signature-mismatch"),
        (signed(bench.command(one, 1, "c"), signer_of(one, "other.topic")), "signature-mismatch"),
        (signed(bench.command(one, 1, "c"), signer, ct="application/cloudevents+json"), "signature-mismatch"),
        (signed(bench.command(one, 1, "c"), signer, at=now - 86_400), "signature-expired"),
        (signed(bench.command(one, 1, "c"), signer, nbf=now + 600), "signature-expired"),
        (signed(bench.command(one, 1, "c"), signer, at=now + 86_400), "signature-too-long-lived"),
        (signed(bench.command(one, 1, "c"), stranger), "signature-key-unknown"),
        (with_header(bench.command(one, 1, "c"), b"x"), "signature-malformed"),
        (with_header(bench.command(one, 1, "c"), None), "signature-malformed"),
        ({**good, "headers": [*good["headers"], ("JWS-Signature", header)]}, "signature-malformed"),
        (with_header(good, head + b"." + b"A" * 86), "signature-wrong"),
        ({**good, "headers": [("authorization", one.authorization), *good["headers"]]}, "draft"),
        ({**good, "headers": [("authorization", one.authorization), *with_header(good, b"x")["headers"]]},
         "signature-malformed"),
        (bench.command(one, 1, "d"), "draft"),
    ]  # fmt: skip
    bench.publish({**command, "partition": 0} for command, _ in cases)
    bench.start_worker(tmp_path / "worker.log")
    results = _by_offset(await bench.wait_for_results(len(cases)))
    assert [_reason(result) for result in results] == [expected for _, expected in cases]
    assert results[0].value == results[14].value, "the same signature on the same record again is a replay"
    assert results[0].header("ce_companyid") == one.company_id
    await check_invariants(bench)
    log = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    assert {one["credentials"] for one in log if one["event"] == "refusal"} == {"signature", "malformed-signature"}


async def test_keys_change_while_it_runs(bench: Workbench, tmp_path: Path) -> None:
    """Loaded, revoked, and a company that moves: the next command is judged by it, and none waits."""
    one = tenant(3)
    signer = signer_of(one, bench.settings.topic_commands)
    numbers = iter(range(100))
    bench.start_worker(tmp_path / "worker.log")
    answered = 0

    async def answer(*sent: dict[str, Any]) -> list[object]:
        nonlocal answered
        bench.publish({**command, "partition": 0} for command in sent)
        answered += len(sent)
        return [_reason(result) for result in _by_offset(await bench.wait_for_results(answered))[-len(sent) :]]

    def both() -> tuple[dict[str, Any], dict[str, Any]]:
        bearer = bench.command(one, 5, f"bearer-{next(numbers)}")
        return bearer, signed(bench.command(one, 5, f"signed-{next(numbers)}"), signer)

    async def load(**company: object) -> None:
        row = {"_id": one.company_id, "name": "Company", "plan": one.company_id, "subscription": "active", **company}
        file = tmp_path / "catalogue.json"
        file.write_text(json.dumps({"companies": [row]}))
        loaded = await asyncio.to_thread(run_command, "catalogue", "load", str(file), **bench.environment)
        assert loaded.returncode == 0, loaded

    jwk = {"jwk": dict(signer.jwk.members)}
    assert await answer(*both()) == ["draft", "signature-key-unknown"]
    await load(signingKeys=[jwk])
    assert await answer(*both()) == ["draft", "draft"]
    await load(signaturesRequiredFrom="2026-01-01T00:00:00Z")
    assert await answer(*both()) == ["signature-required", "draft"]
    await load(signingKeys=[{**jwk, "revokedAt": "2026-01-01T00:00:00Z"}])
    assert await answer(*both()) == ["signature-required", "signature-key-not-valid"]
    await load()
    assert await answer(*both()) == ["signature-required", "signature-key-not-valid"]
    later = {**jwk, "revokedAt": None, "notBefore": "2100-01-01T00:00:00Z"}
    await load(signaturesRequiredFrom=None, signingKeys=[later])
    assert await answer(*both()) == ["draft", "signature-key-not-valid"]
    await check_invariants(bench)


async def test_the_audience_is_a_setting(bench: Workbench, tmp_path: Path) -> None:
    """Where installations have topics of one name."""
    one = tenant(1)
    await add_signing_key(bench, one)
    sent = [signed(bench.command(one, 1, aud), signer_of(one, aud)) for aud in (bench.settings.topic_commands, "eu-1")]
    bench.start_worker(tmp_path / "worker.log", PASSPORT_SIGNATURE_AUDIENCE="eu-1")
    bench.publish({**command, "partition": 0} for command in sent)
    results = _by_offset(await bench.wait_for_results(2))
    assert [_reason(result) for result in results] == ["signature-mismatch", "draft"]
