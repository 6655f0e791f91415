"""`passport-worker keys`: what each verb does at once, what it refuses, and that a key is seen only once."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from asyncpg import ConnectionDoesNotExistError

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import Roles, two_roles
from tests.operations.asking import ask
from tests.workbench import REPOSITORY, Result, Tenant, Workbench, make_workbench, run_command, tenant
from worker.tools.common.api_keys import StoredKey, add_key
from worker.tools.common.journal import Author
from worker.tools.common.servers import both_servers
from worker.tools.keys import keys
from worker.tools.keys.keys import create

OWNER = tenant(0)
HASH = sha256(OWNER.api_key.encode()).hexdigest()
KEY = re.compile(r"tp_[A-Za-z0-9_-]{43}")
EXECUTE = ("--execute", "--reason", "a test")


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
    made = await ask(bench, "keys create", "--company", OWNER.company_id.upper(), "--label", "mes-2", *EXECUTE)
    key, line = made.report["key"], made.report["line"]
    assert KEY.fullmatch(key)
    assert line == {"sha256": sha256(key.encode()).hexdigest(), "label": "mes-2"}
    bench.publish([_with_key(bench, key, "before")])
    assert [bench.label_of(one.topic) for one in await _answers(bench, 1)] == ["created"]
    revoked = await ask(bench, "keys revoke", line["sha256"][:6].upper(), *EXECUTE)
    bench.publish([_with_key(bench, key, "after"), _with_key(bench, OWNER.api_key, "other")])
    _, refused, other = await _answers(bench, 3)
    assert (bench.label_of(refused.topic), refused.body["status"]) == ("rejected", 401)
    assert bench.label_of(other.topic) == "created"
    since = datetime.fromisoformat(revoked.report["revoked"]["revokedAt"])
    appended = datetime.fromisoformat(refused.header("ce_time") or "")
    assert since <= appended
    assert revoked.report["changed"]
    assert revoked.report["revoked"]["state"] == "revoked"


@pytest.mark.parametrize("output", ["> /dev/full", "| true"], ids=["full", "closed"])
@pytest.mark.parametrize("verb", ["create", "rotate"])
async def test_a_key_that_nobody_got_is_named(bench: Workbench, verb: str, output: str) -> None:
    """It is valid, and shown to nobody: stderr says how to revoke it."""
    chosen = HASH[:6] if verb == "rotate" else f"--company {OWNER.company_id} --label lost"
    query = "SELECT encode(sha256, 'hex') AS digits FROM api_key"
    before = await _query(bench, query)
    line = f"set -o pipefail; {sys.executable} -m worker keys {verb} {chosen} --execute --reason test {output}"
    command = ["bash", "-c", line]
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, env=bench.environment, capture_output=True, text=True
    )
    (lost,) = [row["digits"] for row in await _query(bench, query) if row not in before]
    assert ended.returncode == 1
    assert f"passport-worker keys revoke {lost[:16]} --execute --reason TEXT" in ended.stderr


@pytest.mark.parametrize("verb", ["create", "rotate"])
async def test_a_key_is_seen_once(bench: Workbench, tmp_path: Path, verb: str) -> None:
    """On stdout, with its line of the catalogue; in no log, no table, and no other output. A reason names no key."""
    secret = "tp_leaked_somewhere"
    chosen = [HASH[:6]] if verb == "rotate" else ["--company", OWNER.company_id, "--label", "[red]é"]
    chosen += ["--execute", "--reason", f"instead of {secret}"]
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
    assert json.loads(line)["sha256"] in listed.stdout
    everything = await _everything(bench)
    assert json.loads(line)["sha256"] in everything
    for text in (done.stderr, listed.stdout, listed.stderr, log.read_text(), everything):
        assert key not in text
        assert secret not in text


async def test_what_was_done_is_written_down(bench: Workbench) -> None:
    """A row each, with who and why, whose id the report has. What was refused has none."""
    why = ("--execute", "--reason", "new line")
    made = await ask(bench, "keys create", "--company", OWNER.company_id, "--label", "mes-2", "--by", "Anna", *why)
    digest = made.report["line"]["sha256"]
    at = ("--at", "2026-01-01T00:00:00Z")
    revoked = await ask(bench, "keys revoke", digest, *at, *EXECUTE, PASSPORT_OPERATOR="on call")
    assert (await ask(bench, "keys revoke", "0" * 64, *EXECUTE)).codes == ["key-unknown"]
    rows = await _query(bench, "SELECT *, arguments::text AS given FROM operation ORDER BY begun_at")
    assert [(one["verb"], one["outcome"], one["who"], one["reason"]) for one in rows] == [
        ("keys create", "done", "Anna", "new line"),
        ("keys revoke", "done", "on call", "a test"),
    ]
    assert [one.report["operation"] for one in (made, revoked)] == [str(row["id"]) for row in rows]
    assert [json.loads(one["given"]) for one in rows] == [
        {"company": OWNER.company_id, "label": "mes-2", "sha256": digest},
        {"sha256": digest, "at": "2026-01-01T00:00:00+00:00"},
    ]


async def test_a_revocation_only_comes_nearer(bench: Workbench) -> None:
    """Planned, brought forward, repeated; later is refused, since commands may have been answered with 401."""
    planned = await ask(bench, "keys revoke", HASH, "--at", "2999-01-01T00:00:00+01:00", *EXECUTE)
    assert planned.report["revoked"]["revokedAt"] == "2998-12-31T23:00:00Z"
    assert (planned.report["revoked"]["state"], planned.report["changed"]) == ("revoked-later", True)
    now = await ask(bench, "keys revoke", HASH, *EXECUTE)
    since = datetime.fromisoformat(now.report["revoked"]["revokedAt"])
    assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
    assert since.microsecond % 1000 == 0
    again = await ask(bench, "keys revoke", HASH, *EXECUTE)
    assert (again.code, again.report["changed"], again.report["revoked"]) == (0, False, now.report["revoked"])
    later = await ask(bench, "keys revoke", HASH, "--at", "2999-01-01T00:00:00Z", *EXECUTE)
    assert (later.code, later.codes, later.report["revoked"]) == (1, ["already-revoked"], now.report["revoked"])
    assert later.report["problems"][0]["text"].endswith("on: that time stays.")


async def test_a_rotation_overlaps(bench: Workbench) -> None:
    """By a day unless another time is said; a key that was rotated is not rotated again."""
    rotated = await ask(bench, "keys rotate", HASH[:8], *EXECUTE)
    new, old = rotated.report["created"], rotated.report["revoked"]
    assert (new["company"], new["label"], new["state"], new["revokedAt"]) == (OWNER.company_id, "test", "valid", None)
    assert (old["sha256"], old["state"]) == (HASH, "revoked-later")
    ahead = datetime.fromisoformat(old["revokedAt"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < ahead <= timedelta(hours=24)
    again = await ask(bench, "keys rotate", HASH, *EXECUTE)
    assert (again.code, again.codes, again.report["key"]) == (1, ["already-revoked"], None)
    assert "`keys create` makes another one for its company" in again.report["problems"][0]["text"]
    at_once = await ask(bench, "keys rotate", new["sha256"], "--overlap", "0s", *EXECUTE)
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
        several = await ask(bench, verb, "ABCDEF", *EXECUTE)
        assert (several.code, several.codes) == (1, ["key-ambiguous"])
        text = several.report["problems"][0]["text"]
        assert text.startswith(f"The hashes of several API keys begin with abcdef: {digests[0].hex()} (line 0), ")
        assert "(line 4) and perhaps others. Give more digits." in text
        none = await ask(bench, verb, "abcdef9", *EXECUTE)
        assert (none.code, none.codes) == (1, ["key-unknown"])
        assert none.report["problems"][0]["text"] == "No API key has a hash that begins with abcdef9."
    assert await _query(bench, "SELECT FROM api_key WHERE revoked_at IS NOT NULL") == []
    odd = await ask(bench, "keys revoke", "abcdef3", *EXECUTE)
    assert odd.report["revoked"]["sha256"] == digests[3].hex()


async def test_keys_of_all_companies_or_of_one(bench: Workbench) -> None:
    """By company and label. A company that nobody knows is refused."""
    told = await ask(bench, "keys list")
    assert [one["company"] for one in told.report["keys"]] == [tenant(number).company_id for number in range(10)]
    one = await ask(bench, "keys list", "--company", OWNER.company_id)
    assert one.report["keys"] == [
        {
            "sha256": HASH,
            "company": OWNER.company_id,
            "name": "Company",
            "label": "test",
            "revokedAt": None,
            "state": "valid",
        }
    ]
    for verb, more in (("keys list", ()), ("keys create", ("--label", "x", *EXECUTE))):
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
        assert (await ask(bench, verb, *arguments, **as_run)).code == 0
        refused = await ask(bench, verb, *arguments, *EXECUTE, **as_run)
        assert (refused.code, refused.codes) == (1, ["postgres-rights"])
        assert refused.report["problems"][0]["text"] == (
            f"The role {roles.run} lacks {lacking}: name the owner of the tables, or a role with these rights, in "
            "PASSPORT_DATABASE_URL."
        )
    done = await asyncio.to_thread(run_command, "keys", "revoke", HASH, *EXECUTE, **{**bench.environment, **as_run})
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (1, "", 1)
    assert (await ask(bench, "keys revoke", HASH, *EXECUTE)).code == 0


async def test_a_database_that_is_away_or_of_another_version(bench: Workbench) -> None:
    """One problem that names it, and no key."""
    chosen = ("--company", OWNER.company_id, "--label", "x", *EXECUTE)
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
        run_command, "keys", "revoke", HASH, "--at", "2026-01-01T00:00:00Z", *EXECUTE, **bench.environment
    )
    assert json.loads(done.stdout) == {"sha256": HASH, "label": "test", "revokedAt": "2026-01-01T00:00:00Z"}
    warning, remark = done.stderr.splitlines()
    assert warning.startswith(f"passport-worker: warning: Company ({OWNER.company_id}) has no other valid API key: ")
    assert remark == "Refused from 2026-01-01T00:00:00Z on. The line is for your catalogue file."
    listed = await asyncio.to_thread(run_command, "keys", "list", COLUMNS="20", **bench.environment)
    assert re.search(
        rf"^{OWNER.company_id} +Company +test +{HASH} +revoked +2026-01-01T00:00:00Z$", listed.stdout, re.MULTILINE
    )
    many = "INSERT INTO api_key SELECT sha256(n::text::bytea), $1, 'zz' || n FROM generate_series(1, 1000) n"
    await _query(bench, many, tenant(9).company_id)
    listed = await asyncio.to_thread(run_command, "keys", "list", **bench.environment)
    assert listed.stdout.splitlines()[-2:] == [
        "and 10 more; --json has all of them, --company those of one company",
        "1 revoked, 1,009 valid",
    ]


async def test_nothing_is_changed_without_execute(bench: Workbench) -> None:
    """Each verb says what it would do, by which time, and how to have it done; it keeps no row."""
    before = await _query(bench, "SELECT * FROM api_key ORDER BY sha256")
    await _query(bench, "UPDATE company SET name = 'EuroBat' WHERE id = $1", OWNER.company_id)
    at = "2999-01-01T00:00:00Z"
    say = "Nothing was changed. To do it, add --execute --reason TEXT."
    owner = f"EuroBat ({OWNER.company_id})"
    only = f"{owner} has no other valid API key: from then on, its commands need a signature or an access token."
    for arguments, lines in (
        (
            ("create", "--company", "eurobat", "--label", "mes-2", "--reason", "x"),
            [f'Would create the API key "mes-2" for {owner}.', say],
        ),
        (
            ("revoke", HASH[:8], "--at", at),
            [
                f'Would refuse the API key "test" of {owner},',
                f"{HASH}, from {at} on. Commands that are refused meanwhile stay refused.",
                say,
            ],
        ),
        (
            ("rotate", HASH[:8], "--overlap", "1h"),
            [f'Would create another API key "test" for {owner},', f"and refuse the key {HASH} 1h later.", say],
        ),
    ):
        done = await asyncio.to_thread(run_command, "keys", *arguments, **bench.environment)
        assert done.returncode == 0
        assert done.stderr == (f"passport-worker: warning: {only}\n" if "revoke" in arguments else "")
        assert done.stdout.splitlines() == lines
    planned = await ask(bench, "keys revoke", HASH)
    assert (planned.report["executed"], planned.report["operation"], planned.report["changed"]) == (False, None, True)
    assert planned.report["revoked"]["state"] == "revoked"
    assert len(planned.report["warnings"]) == 1
    rotated = await ask(bench, "keys rotate", HASH)
    assert (rotated.report["executed"], rotated.report["key"], rotated.report["created"]) == (False, None, None)
    planned_json = await asyncio.to_thread(run_command, "keys", "rotate", HASH, "--json", **bench.environment)
    assert planned_json.stderr == f"passport-worker: warning: {say}\n"
    made = await ask(bench, "keys create", "--company", "EuroBat", "--label", "x")
    assert (made.report["executed"], made.report["key"], made.report["company"]) == (False, None, OWNER.company_id)
    assert await _query(bench, "SELECT * FROM api_key ORDER BY sha256") == before
    assert await _query(bench, "SELECT FROM operation") == []
    second = await ask(bench, "keys create", "--company", "EuroBat", "--label", "x", *EXECUTE)
    assert (second.report["executed"], second.report["name"]) == (True, "EuroBat")
    assert (await ask(bench, "keys revoke", HASH)).report["warnings"] == []
    await ask(bench, "keys revoke", HASH, *EXECUTE)
    done = await asyncio.to_thread(run_command, "keys", "revoke", HASH, **bench.environment)
    assert re.fullmatch(
        rf"The API key {HASH} is refused from \S+ on: nothing would change\.", done.stdout.splitlines()[-1]
    )


async def test_a_change_whose_answer_is_lost_is_not_made_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail before: `keys create` made a second valid key, and only that one was shown."""
    has_failed = False

    async def lost(*values: Any) -> StoredKey:
        nonlocal has_failed
        made = await add_key(*values)
        if not has_failed:  # as asyncpg raises it where the peer resets the connection behind the commit
            has_failed = True
            raise ConnectionDoesNotExistError("connection was closed") from ConnectionResetError(104, "reset by peer")
        return made

    monkeypatch.setattr(keys, "add_key", lost)
    async with both_servers(bench.settings) as both:
        report = await keys.create(both, OWNER.company_id, "mes-2", Author("test", "r"))
    assert report.key is None
    assert [problem.code for problem in report.problems] == ["postgres-away"]
    assert "may or may not have happened: see `passport-worker keys list`" in report.problems[0].text
    assert len(await _query(bench, "SELECT FROM api_key WHERE label = 'mes-2'")) == 1


async def test_no_key_is_rotated_for_a_closed_company(bench: Workbench) -> None:
    """As none is created. Seen to fail before: it printed a new key, whose commands get 401."""
    await _query(bench, "UPDATE company SET closed_at = now() WHERE id = $1", OWNER.company_id)
    for arguments in ((HASH,), (HASH, *EXECUTE)):
        assert (await ask(bench, "keys rotate", *arguments)).codes == ["company-closed"]
    assert len(await _query(bench, "SELECT FROM api_key WHERE company_id = $1", OWNER.company_id)) == 1


async def test_two_who_rotate_a_key_at_once(bench: Workbench) -> None:
    """One makes the new key, and the other hears of it. Seen to fail before: both made one."""
    connection = await bench.connect()
    async with both_servers(bench.settings) as one, both_servers(bench.settings) as two:
        async with connection.transaction():
            await connection.execute("LOCK TABLE api_key IN SHARE MODE")
            rotating = [
                asyncio.create_task(keys.rotate(both, HASH, timedelta(hours=1), Author("t", "r")))
                for both in (one, two)
            ]
            await asyncio.sleep(2)
        reports = await asyncio.gather(*rotating)
    await connection.close()
    assert sorted(len(report.problems) for report in reports) == [0, 1]
    assert len(await _query(bench, "SELECT FROM api_key WHERE company_id = $1", OWNER.company_id)) == 2


async def test_a_reason_that_is_no_utf8(bench: Workbench) -> None:
    """From a terminal in Latin-1. Seen to fail before: `postgres-away`, with the advice to run it again."""
    done = await asyncio.to_thread(
        run_command, "keys", "revoke", HASH, "--execute", "--reason", "caf\udce9", **bench.environment
    )
    assert (done.returncode, done.stderr) == (2, "passport-worker: --reason: expected text in UTF-8\n")
