"""`passport-worker keys`: what each verb does at once, what it refuses, and that a key is seen only once."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import Roles, two_roles
from tests.operations.asking import ask
from tests.workbench import Result, Tenant, Workbench, make_workbench, run_command, tenant
from worker.tools.common.journal import Author
from worker.tools.common.servers import both_servers
from worker.tools.keys.keys import create

OWNER = tenant(0)
HASH = sha256(OWNER.api_key.encode()).hexdigest()
KEY = re.compile(r"tp_[A-Za-z0-9_-]{43}")


async def _query(bench: Workbench, query: str, *values: object) -> list[dict[str, Any]]:
    connection = await bench.connect()
    try:
        return [dict(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


async def _everything(bench: Workbench) -> str:
    """Every row of every table, as text."""
    tables = await _query(bench, "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND oid > 16383")
    assert {"api_key", "operation"} <= {one["name"] for one in tables}
    rows = [await _query(bench, f"SELECT t::text AS row FROM {one['name']} t") for one in tables]
    return "\n".join(row["row"] for found in rows for row in found)


def _with_key(bench: Workbench, key: str, serial: str) -> dict[str, object]:
    one = Tenant(OWNER.company_id, key, OWNER.product_id)
    return {**bench.command(one, 0, serial), "partition": 0}


async def _answers(bench: Workbench, count: int) -> list[Result]:
    return sorted(await bench.wait_for_results(count), key=lambda one: int(one.cause.rpartition("/")[2]))


async def test_a_key_lives_from_its_making_to_its_revocation(bench: Workbench, tmp_path: Path) -> None:
    """A running worker takes the next command with a new key, and refuses the next one after the revocation."""
    bench.start_worker(tmp_path / "worker.log")
    made = await ask(bench, "keys create", "--company", OWNER.company_id.upper(), "--label", "mes-2")
    key, line = made.report["key"], made.report["line"]
    assert KEY.fullmatch(key)
    assert line == {"sha256": sha256(key.encode()).hexdigest(), "label": "mes-2"}
    bench.publish([_with_key(bench, key, "before")])
    assert [bench.label_of(one.topic) for one in await _answers(bench, 1)] == ["created"]
    revoked = await ask(bench, "keys revoke", line["sha256"][:6].upper())
    bench.publish([_with_key(bench, key, "after"), _with_key(bench, OWNER.api_key, "other")])
    _, refused, other = await _answers(bench, 3)
    assert (bench.label_of(refused.topic), refused.body["status"]) == ("rejected", 401)
    assert bench.label_of(other.topic) == "created"
    since = datetime.fromisoformat(revoked.report["revoked"]["revokedAt"])
    appended = datetime.fromisoformat(refused.header("ce_time") or "")
    assert since <= appended
    assert revoked.report["changed"]
    assert revoked.report["revoked"]["state"] == "revoked"


@pytest.mark.parametrize("verb", ["create", "rotate"])
async def test_a_key_is_seen_once(bench: Workbench, tmp_path: Path, verb: str) -> None:
    """On stdout, with its line of the catalogue; in no log, no table, and no other output. A reason names no key."""
    secret = "tp_leaked_somewhere"
    chosen = ["--company", OWNER.company_id, "--label", "[red]é", "--reason", f"instead of {secret}"]
    if verb == "rotate":
        chosen = [HASH[:6], "--reason", f"instead of {secret}"]
    done = await asyncio.to_thread(run_command, "keys", verb, *chosen, COLUMNS="40", **bench.environment)
    assert done.returncode == 0, done
    key, line, *old = done.stdout.splitlines()
    assert KEY.fullmatch(key)
    assert json.loads(line) == {
        "sha256": sha256(key.encode()).hexdigest(),
        "label": "test" if verb == "rotate" else "[red]é",
    }
    assert [json.loads(one)["sha256"] for one in old] == ([HASH] if verb == "rotate" else [])
    assert "The key is not stored, and is never shown again" in done.stderr
    bench.start_worker(log := tmp_path / "worker.log")
    bench.publish([_with_key(bench, key, "used")])
    await bench.wait_for_results(1)
    listed = await asyncio.to_thread(run_command, "keys", "list", COLUMNS="200", **bench.environment)
    assert f"{json.loads(line)['sha256'][:16]}…" in listed.stdout
    everything = await _everything(bench)
    assert json.loads(line)["sha256"] in everything
    for text in (done.stderr, listed.stdout, listed.stderr, log.read_text(), everything):
        assert key not in text
        assert secret not in text


async def test_what_was_done_is_written_down(bench: Workbench) -> None:
    """A row each, with who and why; a reason may be left out. What was refused has none."""
    made = await ask(bench, "keys create", "--company", OWNER.company_id, "--label", "mes-2", "--reason", "new line")
    digest = made.report["line"]["sha256"]
    await ask(bench, "keys revoke", digest, "--at", "2026-01-01T00:00:00Z")
    assert (await ask(bench, "keys revoke", "0" * 64)).codes == ["key-unknown"]
    rows = await _query(bench, "SELECT *, arguments::text AS given FROM operation ORDER BY begun_at")
    assert [(one["verb"], one["outcome"], one["reason"]) for one in rows] == [
        ("keys create", "done", "new line"),
        ("keys revoke", "done", ""),
    ]
    assert [json.loads(one["given"]) for one in rows] == [
        {"company": OWNER.company_id, "label": "mes-2", "sha256": digest},
        {"sha256": digest, "at": "2026-01-01T00:00:00+00:00"},
    ]


async def test_a_revocation_only_comes_nearer(bench: Workbench) -> None:
    """Planned, brought forward, repeated; later is refused, since commands may have been answered with 401."""
    planned = await ask(bench, "keys revoke", HASH, "--at", "2999-01-01T00:00:00+01:00")
    assert planned.report["revoked"]["revokedAt"] == "2998-12-31T23:00:00Z"
    assert (planned.report["revoked"]["state"], planned.report["changed"]) == ("revoked-later", True)
    now = await ask(bench, "keys revoke", HASH)
    since = datetime.fromisoformat(now.report["revoked"]["revokedAt"])
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    assert since.microsecond % 1000 == 0
    again = await ask(bench, "keys revoke", HASH)
    assert (again.code, again.report["changed"], again.report["revoked"]) == (0, False, now.report["revoked"])
    later = await ask(bench, "keys revoke", HASH, "--at", "2999-01-01T00:00:00Z")
    assert (later.code, later.codes, later.report["revoked"]) == (1, ["already-revoked"], now.report["revoked"])
    assert later.report["problems"][0]["text"].endswith("on: it stays so.")


async def test_a_rotation_overlaps(bench: Workbench) -> None:
    """By a day unless another time is said; a key that was rotated is not rotated again."""
    rotated = await ask(bench, "keys rotate", HASH[:8])
    new, old = rotated.report["created"], rotated.report["revoked"]
    assert (new["company"], new["label"], new["state"], new["revokedAt"]) == (OWNER.company_id, "test", "valid", None)
    assert (old["sha256"], old["state"]) == (HASH, "revoked-later")
    ahead = datetime.fromisoformat(old["revokedAt"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < ahead <= timedelta(hours=24)
    again = await ask(bench, "keys rotate", HASH)
    assert (again.code, again.codes, again.report["key"]) == (1, ["already-revoked"], None)
    assert "`keys create` makes another one for its company" in again.report["problems"][0]["text"]
    at_once = await ask(bench, "keys rotate", new["sha256"], "--overlap", "0s")
    assert at_once.report["revoked"]["state"] == "revoked"
    listed = await ask(bench, "keys list", "--company", OWNER.company_id)
    assert sorted(one["state"] for one in listed.report["keys"]) == ["revoked", "revoked-later", "valid"]
    rows = await _query(bench, "SELECT verb, arguments::text AS given FROM operation ORDER BY begun_at LIMIT 1")
    assert json.loads(rows[0]["given"]) == {"old": HASH, "new": new["sha256"], "overlapSeconds": 86400.0}


async def test_a_prefix_names_one_key(bench: Workbench) -> None:
    """None and several are refused, and said; nothing is revoked."""
    digests = [bytes.fromhex(f"abcdef{number}f" + "00" * 28) for number in range(6)]
    for number, digest in enumerate(digests):
        await _query(bench, "INSERT INTO api_key VALUES ($1, $2, $3)", digest, OWNER.company_id, f"line {number}")
    for verb in ("keys revoke", "keys rotate"):
        several = await ask(bench, verb, "ABCDEF")
        assert (several.code, several.codes) == (1, ["key-ambiguous"])
        text = several.report["problems"][0]["text"]
        assert text.startswith("The hashes of several API keys begin with abcdef: abcdef0f00")
        assert "(line 4) and perhaps others. Give more digits." in text
        none = await ask(bench, verb, "abcdef9")
        assert (none.code, none.codes) == (1, ["key-unknown"])
        assert none.report["problems"][0]["text"] == "No API key has a hash that begins with abcdef9."
    assert await _query(bench, "SELECT FROM api_key WHERE revoked_at IS NOT NULL") == []
    odd = await ask(bench, "keys revoke", "abcdef3")
    assert odd.report["revoked"]["sha256"] == digests[3].hex()


async def test_keys_of_all_companies_or_of_one(bench: Workbench) -> None:
    """By company and label. A company that nobody knows is refused."""
    told = await ask(bench, "keys list")
    assert [one["company"] for one in told.report["keys"]] == [tenant(number).company_id for number in range(10)]
    one = await ask(bench, "keys list", "--company", OWNER.company_id)
    assert one.report["keys"] == [
        {"sha256": HASH, "company": OWNER.company_id, "label": "test", "revokedAt": None, "state": "valid"}
    ]
    for verb, more in (("keys list", ()), ("keys create", ("--label", "x"))):
        unknown = await ask(bench, verb, "--company", "f" * 24, *more)
        assert (unknown.code, unknown.codes) == (1, ["company-unknown"])
    assert await _query(bench, "SELECT FROM operation") == []


@pytest.fixture
async def roles(servers: Infrastructure) -> AsyncIterator[Roles]:
    """An empty database with an owner and a run role."""
    async with two_roles(servers.database_url) as roles:
        yield roles


async def test_a_role_without_the_rights_is_told_what_it_lacks(
    servers: Infrastructure, roles: Roles, kafka_prefix: str
) -> None:
    """In one line, before anything is done; the run role reads keys, and the owner does everything."""
    bench = await make_workbench(servers.bootstrap_servers, roles.owner_url, kafka_prefix)
    as_run = {"PASSPORT_DATABASE_URL": roles.run_url}
    nothing = await ask(bench, "keys list", **as_run)
    assert (nothing.code, nothing.codes) == (1, ["postgres-rights"])
    assert f"The role {roles.run} lacks" in nothing.report["problems"][0]["text"]
    granted = await asyncio.to_thread(run_command, "migrate", "--grant-to", roles.run, **bench.environment)
    assert granted.returncode == 0, granted
    assert (await ask(bench, "keys list", **as_run)).code == 0
    for verb, arguments, lacking in (
        ("keys create", ("--company", OWNER.company_id, "--label", "x"), "INSERT on table api_key"),
        ("keys revoke", (HASH,), "UPDATE (revoked_at) on table api_key"),
        ("keys rotate", (HASH,), "INSERT on table api_key, UPDATE (revoked_at) on table api_key"),
    ):
        refused = await ask(bench, verb, *arguments, **as_run)
        assert (refused.code, refused.codes) == (1, ["postgres-rights"])
        assert refused.report["problems"][0]["text"] == (
            f"The role {roles.run} lacks {lacking}: name the owner of the tables, or a role with these rights, in "
            "PASSPORT_DATABASE_URL."
        )
    done = await asyncio.to_thread(run_command, "keys", "revoke", HASH, **{**bench.environment, **as_run})
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (1, "", 1)
    assert (await ask(bench, "keys revoke", HASH)).code == 0


async def test_a_database_that_is_away_or_of_another_version(bench: Workbench) -> None:
    """One problem that names it, and no key."""
    chosen = ("--company", OWNER.company_id, "--label", "x")
    away = await ask(bench, "keys create", *chosen, PASSPORT_DATABASE_URL="postgresql://localhost:1/x")
    assert (away.code, away.codes, away.report["key"]) == (1, ["postgres-away"], None)
    assert "keys list" not in away.report["problems"][0]["text"]
    await _query(bench, "DELETE FROM schema_migration")
    older = await ask(bench, "keys create", *chosen)
    assert (older.code, older.codes, older.report["key"]) == (1, ["schema-differs"], None)
    assert "run `passport-worker migrate`" in older.report["problems"][0]["text"]


async def test_what_became_of_a_change_may_not_be_known(bench: Workbench) -> None:
    """Where the answer does not come in time: it says who knows, and the key is not printed."""
    connection = await bench.connect()
    async with connection.transaction(), both_servers(bench.settings, patience=1.5) as both:
        await connection.execute("LOCK TABLE api_key IN SHARE MODE")
        report = await create(both, OWNER.company_id, "x", Author("test", ""))
    await connection.close()
    assert report.key is None
    (problem,) = report.problems
    assert problem.code == "postgres-away"
    assert problem.text.endswith("The change may or may not have happened: see `passport-worker keys list`.")
    rows = await _query(bench, "SELECT outcome FROM operation")
    assert [one["outcome"] for one in rows] == ["interrupted"]


async def test_people_get_lines(bench: Workbench) -> None:
    """The list as a table; a revocation as a line for the catalogue file, and when it begins."""
    done = await asyncio.to_thread(
        run_command, "keys", "revoke", HASH, "--at", "2026-01-01T00:00:00Z", **bench.environment
    )
    assert json.loads(done.stdout) == {"sha256": HASH, "label": "test", "revokedAt": "2026-01-01T00:00:00Z"}
    assert done.stderr == "Refused from 2026-01-01T00:00:00Z on. The line is for your catalogue file.\n"
    listed = await asyncio.to_thread(run_command, "keys", "list", COLUMNS="200", **bench.environment)
    assert re.search(rf"{OWNER.company_id} +test +{HASH[:16]}… +revoked +2026-01-01T00:00:00Z", listed.stdout)
    many = "INSERT INTO api_key SELECT sha256(n::text::bytea), $1, 'zz' || n FROM generate_series(1, 1000) n"
    await _query(bench, many, tenant(9).company_id)
    listed = await asyncio.to_thread(run_command, "keys", "list", COLUMNS="200", **bench.environment)
    assert listed.stdout.splitlines()[-1] == "and 10 more; --json has all of them, --company those of one company"
