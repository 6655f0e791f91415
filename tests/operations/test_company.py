"""`passport-worker company`: a company takes its data, whole and without secrets, and is closed for good."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jsonschema import Draft202012Validator

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import two_roles
from tests.invariants import check_invariants
from tests.operations.asking import SCHEMAS, ask
from tests.unit.oauth_builders import AUDIENCE, ISSUER, jwk, key_set, token
from tests.workbench import REPOSITORY, Workbench, add_tenant, gtin, make_workbench, run_command, tenant
from worker.tools.common.report import Problem
from worker.tools.common.servers import both_servers
from worker.tools.company.export import CompanyExport

OWNER, OTHER = tenant(0), tenant(1)
HASH = sha256(OWNER.api_key.encode()).digest()
KID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
JWK = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
EXECUTE = ("--execute", "--reason", "contract ended", "--by", "Anna")
LINE = Draft202012Validator(json.loads((SCHEMAS / "company-export.json").read_text()))
CREATED = Draft202012Validator(json.loads((REPOSITORY / "schemas" / "created.v1.json").read_text()))


async def _sql(bench: Workbench, query: str, *values: object) -> list[dict[str, Any]]:
    connection = await bench.connect()
    try:
        return [dict(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


async def _export(bench: Workbench, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run_command, "company", "export", *arguments, **{**bench.environment, **environment})


async def _lines(bench: Workbench, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """What it prints when it succeeds; each line fits the schema."""
    done = await _export(bench, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        LINE.validate(line)
    return lines


async def _create(bench: Workbench, log: Path, **environment: str) -> list[dict[str, object]]:
    """Five passports of one company beside one of another; the last three cost a fee. The bodies of their events."""
    connection = await bench.connect()
    await add_tenant(connection, OWNER, max_dpps=2, overage_price_cents=75)
    await connection.close()
    units = [(2, "b"), (2, "a"), (1, "ü/ 1"), (2, "B"), (1, "0")]
    party = {"manufacturer": {"legalName": "Anna Berg", "gln": "4012345000009", "country": "DE"}}
    asked = [
        {**bench.command(OWNER, number, serial, confirmOverage=True, parties=party), "partition": 0}
        for number, serial in units
    ]
    bench.publish([*asked, {**bench.command(OTHER, 3, "c"), "partition": 0}])
    bench.start_worker(log, **environment)
    results = sorted(await bench.wait_for_results(6), key=lambda one: int(one.cause.rpartition("/")[2]))
    assert [bench.label_of(one.topic) for one in results] == ["created"] * 6
    return [one.body for one in results[:5]]


async def test_an_export_has_all_of_a_company_and_no_secret(bench: Workbench, tmp_path: Path) -> None:
    """Passports with the bytes of their events and their charges, in the order of the codes on the units."""
    await _sql(
        bench, "UPDATE company SET prefill = '{\n \"mass\": 4.50}', name = 'Berg' WHERE id = $1", OWNER.company_id
    )
    await _sql(
        bench,
        "INSERT INTO signing_key VALUES ($1, $2, $3, 'mes', NULL, '2026-05-09T10:00Z')",
        KID,
        OWNER.company_id,
        json.dumps(JWK),
    )
    bodies = await _create(bench, tmp_path / "worker.log")
    lines = await _lines(bench, "BERG")
    assert [line["kind"] for line in lines] == [
        "company",
        "api-key",
        "signing-key",
        "product",
        *["passport"] * 5,
        "end",
    ]
    company, api_key, signing_key, product, *passports, end = lines
    assert company == {
        "kind": "company",
        "_id": OWNER.company_id,
        "name": "Berg",
        "plan": OWNER.company_id,
        "subscription": "active",
        "prefill": {"mass": 4.5},
        "channels": None,
        "signaturesRequiredFrom": None,
        "closedAt": None,
        "passports": 5,
    }
    assert api_key == {"kind": "api-key", "label": "test", "revokedAt": None}
    assert signing_key == {
        "kind": "signing-key",
        "jwk": JWK,
        "label": "mes",
        "notBefore": None,
        "revokedAt": "2026-05-09T10:00:00Z",
    }
    assert (product["_id"], product["defaultFieldValues"]) == (OWNER.product_id, {})
    assert end == {"kind": "end", "passports": 5}
    units = [(line["passport"]["gs1"]["gtin"], line["passport"]["gs1"]["serialNumber"]) for line in passports]
    in_order = await _sql(bench, "SELECT gtin, serial FROM passport WHERE gtin <> $1 ORDER BY gtin, serial", gtin(3))
    assert units == [(row["gtin"], row["serial"]) for row in in_order]
    assert sorted((line["passport"] for line in passports), key=str) == sorted(bodies, key=str)
    charges = {line["passport"]["_id"]: line["charge"] for line in passports}
    for body in bodies:
        CREATED.validate(body)
        if (charge := charges[body["_id"]]) is not None:
            charged_at = datetime.fromisoformat(charge.pop("chargedAt"))
            assert charged_at == datetime.fromisoformat(str(body["createdAt"]))
        assert charge == body.get("overage")
    text = json.dumps(lines)
    assert HASH.hex() not in text
    assert OTHER.company_id not in text


async def test_an_export_goes_on_behind_any_passport(bench: Workbench, tmp_path: Path) -> None:
    """Without the lines in front of the passports; the parts together are the whole."""
    await _create(bench, tmp_path / "worker.log")
    whole = (await _lines(bench, OWNER.company_id))[-6:-1]
    for at, line in enumerate(whole):
        *rest, end = await _lines(bench, OWNER.company_id, "--after", line["passport"]["_id"].upper())
        assert rest == whole[at + 1 :]
        assert end == {"kind": "end", "passports": 4 - at}
    (foreign,) = await _sql(bench, "SELECT encode(id, 'hex') AS id FROM passport WHERE gtin = $1", gtin(3))
    for unknown in (foreign["id"], "f" * 24):
        done = await _export(bench, OWNER.company_id, "--after", unknown)
        said = f"passport-worker: Company ({OWNER.company_id}) has no passport {unknown}.\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    odd = await _export(bench, OWNER.company_id, "--after", "3/17")
    assert (odd.returncode, odd.stdout) == (2, "")
    assert "--after: expected the id of a passport (24 hexadecimal digits), got '3/17'" in odd.stderr


async def test_a_company_without_passports_and_one_that_nobody_knows(bench: Workbench) -> None:
    """The first has lines; the second has none."""
    kinds = [line["kind"] for line in await _lines(bench, OWNER.company_id)]
    assert kinds == ["company", "api-key", "product", "end"]
    unknown = await _export(bench, "f" * 24)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == f"passport-worker: The catalogue has no company {'f' * 24}.\n"
    away = await _export(bench, OWNER.company_id, PASSPORT_DATABASE_URL="postgresql://localhost:1/x")
    assert (away.returncode, away.stdout) == (1, "")
    assert "--after" not in away.stderr


_MEASURED = """
import sys
from worker.tools.cli.main import main
main(["company", "export", sys.argv[1]])
status = open("/proc/self/status", encoding="ascii")  # getrusage begins with what the parent had
print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""
"""In kilobytes."""

_MANY = """
WITH frame AS (
    INSERT INTO passport_frame VALUES (decode(repeat('00', 16), 'hex'), $1, $1,
        '{"_id":"' || chr(1) || '","gs1":{"gtin":"' || chr(2) || '","serialNumber":"' || chr(3) || '"},"fields":"'
        || repeat('x', 5000) || '","createdAt":"' || chr(4) || '"}')
    RETURNING id
)
INSERT INTO passport (created_at, id, company_number, gtin, serial, frame_id)
SELECT now(), decode(lpad(to_hex(n), 24, '0'), 'hex'), c.number, $2, n::text, frame.id
  FROM generate_series(1, $3) n, frame, company c WHERE c.id = $1
"""


async def _many(bench: Workbench, passports: int) -> None:
    """Passports of one product, of 5 KB each."""
    # The id of a frame is the hash of its text.
    await _sql(bench, _MANY, OWNER.company_id, gtin(1), passports)
    await _sql(bench, "UPDATE passport_frame SET id = substr(sha256(convert_to(text, 'UTF8')), 1, 16)")
    await _sql(bench, "UPDATE passport SET frame_id = (SELECT id FROM passport_frame)")


async def test_memory_is_bounded_and_a_reader_may_leave(bench: Workbench) -> None:
    """20,000 passports are 100 MB; and the export ends quietly when nobody reads on."""
    await _many(bench, 20_000)
    command = [sys.executable, "-c", _MEASURED, OWNER.company_id]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, env=bench.environment, capture_output=True, text=True, check=True
    )
    *lines, end = done.stdout.splitlines()
    assert json.loads(end) == {"kind": "end", "passports": 20_000}
    assert len({json.loads(line)["passport"]["_id"] for line in lines[3:]}) == 20_000
    assert int(done.stderr) < 120_000
    await asyncio.to_thread(_read_one_line, bench)
    full = await asyncio.to_thread(_write_to_full_disk, bench)
    assert full.returncode == 1
    advice = "Continue with --after and the `_id` of the last whole line."
    assert full.stderr == f"passport-worker: cannot write the output: No space left on device\n{advice}\n"


def _read_one_line(bench: Workbench) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "company", "export", OWNER.company_id],
        cwd=REPOSITORY,
        env=bench.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["kind"] == "company"
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""


def _write_to_full_disk(bench: Workbench) -> subprocess.CompletedProcess[str]:
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [sys.executable, "-m", "worker", "company", "export", OWNER.company_id],
            cwd=REPOSITORY,
            env=bench.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )


async def test_an_export_that_loses_its_database_can_be_gone_on_with(bench: Workbench) -> None:
    """Each passport that was written is in front of `last`, and the others come behind it."""
    await _many(bench, 5_000)
    written, begun = list[bytes](), asyncio.Event()
    connection = await bench.connect()

    def write(line: bytes) -> None:
        written.append(line)
        if len(written) > 500:
            begun.set()

    export = CompanyExport(OWNER.company_id, None, write)
    async with both_servers(bench.settings) as servers:
        task = asyncio.create_task(export.run(servers))
        await begun.wait()
        await connection.execute("ALTER TABLE passport RENAME TO hidden")
        problem = await task
        assert isinstance(problem, Problem)
        assert 500 <= export.passports < 5_000
        await connection.execute("ALTER TABLE hidden RENAME TO passport")
        await connection.close()
        rest = CompanyExport(OWNER.company_id, export.last, write)
        assert await rest.run(servers) is None
    ids = [line["passport"]["_id"] for line in map(json.loads, written) if line["kind"] == "passport"]
    assert (len(ids), len(set(ids))) == (5_000, 5_000)


async def test_a_closed_company_is_answered_with_401(bench: Workbench, tmp_path: Path) -> None:
    """From then on, by a running worker, whose issuer still gives it tokens. The operation's row has who and why."""
    key, keys = ec.generate_private_key(ec.SECP256R1()), tmp_path / "jwks.json"
    keys.write_bytes(key_set(jwk(key, "k")))
    oauth = {"PASSPORT_OAUTH_JWKS": str(keys), "PASSPORT_OAUTH_ISSUER": ISSUER, "PASSPORT_OAUTH_AUDIENCE": AUDIENCE}
    claims = {"scope": "passports:write", "exp": int(time.time()) + 600}
    tokens = {one: token(key, "ES256", "k", company_id=one.company_id, **claims) for one in (OWNER, OTHER)}
    await _create(bench, tmp_path / "worker.log", **oauth)
    planned = await ask(bench, "company close", OWNER.company_id)
    assert (planned.code, planned.report["executed"], planned.report["closedAt"]) == (0, False, None)
    assert [planned.report[name] for name in ("apiKeys", "signingKeys", "passports")] == [1, 0, 5]
    closed = await ask(bench, "company close", OWNER.company_id, *EXECUTE)
    assert closed.report["executed"]
    assert [closed.report[name] for name in ("apiKeys", "signingKeys", "passports")] == [1, 0, 5]
    since = datetime.fromisoformat(closed.report["closedAt"])
    assert since.microsecond % 1000 == 0
    for one in (OWNER, OTHER):
        late = {**bench.command(one, 9, "late"), "partition": 0}
        bench.publish([late, {**late, "headers": [("authorization", f"Bearer {tokens[one]}".encode())]}])
    results = sorted(await bench.wait_for_results(10), key=lambda one: int(one.cause.rpartition("/")[2]))
    for result in results[-4:-2]:
        assert result.body == {"error": "Unauthorized", "status": 401}
        assert result.header("ce_companyid") is None
        assert datetime.fromisoformat(result.header("ce_time") or "") >= since
    assert [bench.label_of(result.topic) for result in results[-2:]] == ["created", "conflict"]
    (row,) = await _sql(bench, "SELECT *, arguments::text AS given, progress::text AS made FROM operation")
    assert (row["verb"], row["outcome"], row["who"], row["reason"]) == (
        "company close",
        "done",
        "Anna",
        "contract ended",
    )
    assert (json.loads(row["given"]), json.loads(row["made"])) == (
        {"company": OWNER.company_id},
        {"apiKeys": 1, "signingKeys": 0},
    )
    assert str(row["id"]) == closed.report["operation"]
    assert (await _lines(bench, OWNER.company_id))[0]["closedAt"] == closed.report["closedAt"]
    again = await ask(bench, "company close", OWNER.company_id, *EXECUTE)
    assert (again.report["closedAt"], again.report["apiKeys"]) == (closed.report["closedAt"], 0)
    await check_invariants(bench)


async def test_a_closing_revokes_what_is_valid(bench: Workbench) -> None:
    """Keys that are revoked later come nearer, those that were revoked before stay, and nobody else loses any."""
    await _sql(bench, "UPDATE api_key SET revoked_at = '2026-01-01' WHERE sha256 = $1", HASH)
    await _sql(bench, "INSERT INTO api_key VALUES (sha256('x'), $1, 'later', '2999-01-01')", OWNER.company_id)
    await _sql(bench, "INSERT INTO signing_key VALUES ($1, $2, $3, 'mes')", KID, OWNER.company_id, json.dumps(JWK))
    closed = await ask(bench, "company close", OWNER.company_id, *EXECUTE)
    assert [closed.report[name] for name in ("apiKeys", "signingKeys")] == [1, 1]
    since = datetime.fromisoformat(closed.report["closedAt"])
    keys = await _sql(bench, "SELECT label, revoked_at FROM api_key WHERE company_id = $1", OWNER.company_id)
    assert {row["label"]: row["revoked_at"] for row in keys}["later"] == since
    assert min(row["revoked_at"] for row in keys) < datetime(2026, 1, 2, tzinfo=UTC)
    assert await _sql(bench, "SELECT revoked_at FROM signing_key") == [{"revoked_at": since}]
    assert len(await _sql(bench, "SELECT FROM api_key WHERE revoked_at IS NULL")) == 9


async def test_a_closed_company_is_opened_by_a_word_only(bench: Workbench, tmp_path: Path) -> None:
    """`catalogue load` of an old file says that it stays closed; `closedAt: null` opens it. It gets no new API key."""
    exported = await asyncio.to_thread(run_command, "catalogue", "export", **bench.environment)
    catalogue = json.loads(exported.stdout)
    (at, company) = next(one for one in enumerate(catalogue["companies"]) if one[1]["_id"] == OWNER.company_id)
    closed = await ask(bench, "company close", OWNER.company_id, *EXECUTE)
    file = tmp_path / "catalogue.json"

    async def load() -> subprocess.CompletedProcess[str]:
        file.write_text(json.dumps(catalogue))
        return await asyncio.to_thread(run_command, "catalogue", "load", str(file), **bench.environment)

    stays = await load()
    assert stays.returncode == 0
    assert f"companies[{at}]: The company is closed from {closed.report['closedAt']} on, and stays so" in stays.stderr
    assert (await ask(bench, "catalogue diff", str(file))).code == 0
    refused = await ask(bench, "keys create", "--company", OWNER.company_id, "--label", "new", *EXECUTE)
    assert (refused.code, refused.codes) == (1, ["company-closed"])
    again = await asyncio.to_thread(run_command, "catalogue", "export", **bench.environment)
    assert json.loads(again.stdout)["companies"][at]["closedAt"] == closed.report["closedAt"]
    company["closedAt"] = None
    file.write_text(json.dumps(catalogue))
    diff = await ask(bench, "catalogue diff", str(file))
    assert [field["path"] for row in diff.report["changes"] for field in row["fields"]] == ["closedAt"]
    opened = await load()
    assert f"companies[{at}].closedAt: The company is closed from " in opened.stderr
    assert (await _sql(bench, "SELECT closed_at FROM company WHERE id = $1", OWNER.company_id))[0]["closed_at"] is None
    assert (await ask(bench, "keys create", "--company", OWNER.company_id, "--label", "new", *EXECUTE)).code == 0


async def test_who_may_read_may_export_and_the_owner_closes(servers: Infrastructure, kafka_prefix: str) -> None:
    """A reader sees no hash, and is told which rights it lacks to close."""
    async with two_roles(servers.database_url) as roles:
        bench = await make_workbench(servers.bootstrap_servers, roles.owner_url, kafka_prefix)
        as_reader = {"PASSPORT_DATABASE_URL": roles.run_url}
        denied = await _export(bench, OWNER.company_id, **as_reader)
        assert (denied.returncode, denied.stdout) == (1, "")
        assert f"The role {roles.run} lacks " in denied.stderr
        granted = await asyncio.to_thread(run_command, "migrate", "--grant-read-to", roles.run, **bench.environment)
        assert granted.returncode == 0, granted
        assert (await _lines(bench, OWNER.company_id, **as_reader))[1]["label"] == "test"
        assert (await ask(bench, "company close", OWNER.company_id, **as_reader)).code == 0
        refused = await ask(bench, "company close", OWNER.company_id, *EXECUTE, **as_reader)
        assert (refused.code, refused.codes) == (1, ["postgres-rights"])
        assert "UPDATE (closed_at) on table company" in refused.report["problems"][0]["text"]
        assert (await ask(bench, "company close", OWNER.company_id, *EXECUTE)).code == 0


async def test_people_get_lines(bench: Workbench) -> None:
    """What would be done, the line for the catalogue file, and that nothing is left to do."""

    async def close(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            run_command, "company", "close", OWNER.company_id, *arguments, **bench.environment
        )

    owner = f"Company ({OWNER.company_id})"
    assert (await close()).stdout.splitlines() == [
        f"Would refuse all commands of {owner} from now on, and revoke its keys (API keys: 1, signing keys: 0).",
        "Its passports stay (0).",
        "Nothing was changed. To do it, add --execute --reason TEXT.",
    ]
    done = await close(*EXECUTE)
    (line,) = done.stdout.splitlines()
    assert line.startswith('closedAt: "20')
    assert done.stderr.splitlines() == [
        f"{owner} is closed. Revoked API keys: 1, signing keys: 0. Its passports stay (0).",
        "The line is for the company in your catalogue file.",
    ]
    shown = await asyncio.to_thread(run_command, "quota", "show", OWNER.company_id, **bench.environment)
    assert "Company (closed)" in shown.stdout
    quota = await ask(bench, "quota show", OWNER.company_id)
    assert quota.report["quotas"][0]["closedAt"] == line[11:-1]
    assert (await close()).stdout == f"{owner} is closed from {line[11:-1]} on: nothing would change.\n"


async def test_closing_at_once_what_closes_later_is_a_change(bench: Workbench) -> None:
    """A company without valid keys, as one with access tokens. Seen to fail before: `nothing would change`."""
    connection = await bench.connect()
    closing = "UPDATE company SET closed_at = now() + interval '30 days' WHERE id = $1"
    await connection.execute(closing, OWNER.company_id)
    await connection.execute("DELETE FROM api_key WHERE company_id = $1", OWNER.company_id)
    await connection.close()
    planned = await asyncio.to_thread(run_command, "company", "close", OWNER.company_id, **bench.environment)
    assert planned.stdout.startswith("Would refuse all commands of ")
