"""Signed commands as operators meet them: the catalogue there and back, explain, and dead letters published again."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.signing import add_signing_key, signed, signer_of
from tests.workbench import Workbench, run_command, tenant

pytestmark = pytest.mark.real_kafka

ONE = tenant(1)
EXECUTE = ("--execute", "--reason", "the limit is raised")
MANY_HEADERS = [("x", b"1"), ("y", b"2")]
STRICT = {"PASSPORT_LIMIT_HEADERS": "2"}
"""What makes a command of three headers unreadable."""


def _company(**fields: object) -> dict[str, object]:
    return {"_id": ONE.company_id, "name": "Company", "plan": ONE.company_id, "subscription": "active", **fields}


async def _run(bench: Workbench, *arguments: str) -> str:
    done = await asyncio.to_thread(run_command, *arguments, **bench.environment)
    assert done.returncode == 0, done
    return done.stdout


async def test_the_catalogue_there_and_back(bench: Workbench, tmp_path: Path) -> None:
    """Differences are told key by key; an export has all of it, and loading it changes nothing."""
    file = tmp_path / "catalogue.json"
    jwk = dict(signer_of(ONE, "").jwk.members)
    key_id = signer_of(ONE, "").jwk.key_id
    moments = {"notBefore": "2026-05-09T10:00:00Z", "revokedAt": "2027-05-09T10:00:00Z"}

    async def differences(**fields: object) -> list[tuple[str, str, str, list[str]]]:
        file.write_text(json.dumps({"companies": [_company(**fields)]}))
        told = await ask(bench, "catalogue diff", str(file))
        return [
            (one["kind"], one["id"], one["change"], [field["path"] for field in one["fields"]])
            for one in told.report["changes"]
        ]

    keys = [{"jwk": jwk, "label": "mes", **moments}]
    wanted = {"signingKeys": keys, "signaturesRequiredFrom": "2026-05-09T10:00:00Z"}
    company = ("company", ONE.company_id, "changed", ["signaturesRequiredFrom"])
    assert await differences(**wanted) == [company, ("signing-key", key_id, "added", [])]
    await _run(bench, "catalogue", "load", str(file))
    assert await differences(**wanted) == []
    assert await differences() == []
    assert await differences(signingKeys=[{"jwk": jwk}]) == []
    changed = [{"jwk": jwk, "label": "", "revokedAt": None}]
    assert await differences(signingKeys=changed, signaturesRequiredFrom=None) == [
        company,
        ("signing-key", key_id, "changed", ["label", "revokedAt"]),
    ]
    exported = json.loads(await _run(bench, "catalogue", "export"))
    (own,) = [one for one in exported["companies"] if one["_id"] == ONE.company_id]
    assert own["signingKeys"] == [{"jwk": {**jwk, "kid": key_id}, "label": "mes", **moments}]
    assert own["signaturesRequiredFrom"] == wanted["signaturesRequiredFrom"]
    assert [one for one in exported["companies"] if "signingKeys" in one] == [own]
    assert len([one for one in exported["companies"] if "apiKeys" in one]) == 10
    file.write_text(json.dumps(exported))
    assert (await ask(bench, "catalogue diff", str(file))).code == 0


async def test_explain_says_whose_signature_and_what_does_not_fit(bench: Workbench, tmp_path: Path) -> None:
    """The reason as it was answered; the claim, which is not told outside, to operators."""
    await add_signing_key(bench, ONE)
    signer = signer_of(ONE, bench.settings.topic_commands)
    good = signed(bench.command(ONE, 1, "a", key="k"), signer)
    stolen = {**good, "value": good["value"].replace(b'"a"', b'"b"')}
    bench.publish({**one, "partition": 0} for one in (good, stolen))
    bench.start_worker(tmp_path / "worker.log")
    await bench.wait_for_results(2)
    told = [(await ask(bench, "explain", f"0/{offset}")).report for offset in (0, 1)]
    for one, misfit in zip(told, (None, "sha256"), strict=True):
        credentials = one["command"]["credentials"]
        assert (credentials["kind"], credentials["label"], credentials["misfit"]) == ("signature", "test", misfit)
        assert credentials["keyId"] == signer.jwk.key_id
        assert credentials["expiresAt"] > "2026"
    assert told[1]["outcome"]["why"].startswith("The signature is of another record: aud, sha256, key or ct")
    shown = await _run(bench, "explain", "0/1")
    assert "signature of key test" in shown
    assert "whose claim sha256 does not match this record" in " ".join(shown.split())


async def test_a_dead_letter_keeps_its_signature_and_is_published_again_with_it(
    bench: Workbench, tmp_path: Path
) -> None:
    """Good until it expires; whoever publishes it again is warned, and the copy is refused."""
    await add_signing_key(bench, ONE)
    signer = signer_of(ONE, bench.settings.topic_commands)

    def command(serial: str, **claims: Any) -> dict[str, Any]:
        sent = signed(bench.command(ONE, 1, serial), signer, **claims)
        return {**sent, "headers": [*sent["headers"], *MANY_HEADERS], "partition": 0}

    expires = int(time.time()) + 1
    sent = [
        command("a"),
        command("b", exp=expires),
        {**command("c"), "headers": [("authorization", ONE.authorization), *MANY_HEADERS]},
    ]
    bench.publish(sent)
    worker = bench.start_worker(tmp_path / "strict.log", **STRICT)
    await bench.wait_for_results(3)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    letters = sorted(bench.read([bench.dead_letters]), key=lambda one: int(one.header("dlq-original-offset") or 0))
    kept = [one.header("jws-signature") for one in letters]
    assert kept == [dict(one["headers"])["jws-signature"].decode() for one in sent[:2]] + [None]
    connection = await bench.connect()
    await connection.execute("UPDATE company SET signatures_required_from = '2026-01-01' WHERE id = $1", ONE.company_id)
    await connection.close()
    await asyncio.sleep(max(0.0, expires + 1 - time.time()))
    told = await ask(bench, "dead-letters redrive", "--code", "too-many-headers", *EXECUTE)
    warned = [one.partition(": ")[2].partition(":")[0] for one in told.report["warnings"]]
    assert warned == ["signature-expired", "signature-required"]
    bench.start_worker(tmp_path / "worker.log")
    await bench.wait_for_results(6)
    again = sorted(await check_invariants(bench), key=lambda one: int(one.cause.rpartition("/")[2]))[3:]
    found: list[Any] = [one.body.get("details", one.body["status"]) for one in again]
    assert found == ["draft", {"reason": "signature-expired"}, {"reason": "signature-required"}]
