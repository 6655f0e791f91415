"""`passport-worker catalogue diff`, `load --dry-run`, `export`: what a file would change, and one that changes none."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.roles import two_roles
from tests.operations.asking import Told, ask
from tests.workbench import REPOSITORY, Workbench, run_command, settings_of
from worker.tools.common.migrating import migrate
from worker.tools.common.rights import RUN
from worker.tools.migrate.grants import grant_rights

EXAMPLE = REPOSITORY / "deploy" / "catalogue.example.yaml"
COMPANY, OTHER, TEMPLATE, PRODUCT = "a" * 24, "b" * 24, "c" * 24, "d" * 24
TABLES = ("plan", "company", "api_key", "template", "product", "company_usage")
HASH = "ab" * 32

HOSTILE: dict[str, Any] = {
    "plans": [{"id": 'p "é"\u2028', "maxDpps": 0, "overagePriceCents": 0, "maxV1WritesPerDay": None}],
    "companies": [
        {
            "_id": COMPANY,
            "name": "Größe [red]</script> \U0001f600",
            "plan": 'p "é"\u2028',
            "subscription": "aktive",
            "prefill": {
                "z": 1.0,
                "a": [1e300, -0.0, 12345678901234567890, None, True, {"y": {}, "b": ""}],
                "é\n": "\u0000",
            },
            "channels": ["globex", "", "acme"],
            "apiKeys": [
                {"sha256": HASH, "label": "", "revokedAt": "2026-01-01T01:02:03.123456+01:00"},
                {"sha256": "cd" * 32, "label": "valid"},
                {"sha256": "01" * 32, "label": "[later]", "revokedAt": "2999-01-01T00:00:00Z"},
            ],
        },
        {"_id": OTHER, "name": "n", "plan": 'p "é"\u2028', "subscription": None},
    ],
    "templates": [
        {
            "_id": TEMPLATE,
            "category": "c",
            "version": 0,
            "fields": [
                {"key": "second", "dataType": "strange", "defaultValue": {"b": 1, "a": [2]}},
                {"key": "first", "dataType": "number", "defaultValue": None},
            ],
        }
    ],
    "products": [
        {
            "_id": PRODUCT,
            "companyId": COMPANY,
            "templateId": TEMPLATE,
            "name": "n",
            "model": "m",
            "defaultFieldValues": {"first": 1, "second": "é"},
        }
    ],
}


@pytest_asyncio.fixture
async def bench(servers: Infrastructure) -> AsyncIterator[Workbench]:
    """A migrated database; Kafka is not asked by any of these verbs."""
    async with fresh_database(servers.database_url) as url:
        environment = {"PASSPORT_DATABASE_URL": url, "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}
        made = Workbench(environment, settings_of(environment))
        connection = await made.connect()
        await migrate(connection)
        await connection.close()
        yield made


async def _run(bench: Workbench, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(run_command, "catalogue", *arguments, **{**bench.environment, **environment})


async def _rows(bench: Workbench) -> dict[str, list[tuple[Any, ...]]]:
    """All tables of the catalogue, with their JSON as text."""
    connection = await bench.connect()
    try:
        return {
            table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1")]
            for table in TABLES
        }
    finally:
        await connection.close()


def _file(folder: Path, contents: object, name: str = "catalogue.json") -> str:
    path = folder / name
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents), encoding="utf-8")
    return str(path)


async def _load(bench: Workbench, *files: str) -> None:
    for file in files:
        done = await _run(bench, "load", file)
        assert done.returncode == 0, done


async def test_loading_an_export_changes_nothing(bench: Workbench, tmp_path: Path) -> None:
    """Not a byte of any table, whatever texts and numbers it holds; `diff` finds nothing; the next export is equal."""
    await _load(bench, str(EXAMPLE), _file(tmp_path, HOSTILE))
    before = await _rows(bench)
    assert [len(rows) for rows in before.values()] == [6, 8, 10, 3, 9, 8]
    exported = await _run(bench, "export")
    assert (exported.returncode, exported.stderr) == (0, "")
    assert exported.stdout.isascii()
    assert "tp_" not in exported.stdout
    file = _file(tmp_path, exported.stdout, "exported.json")
    told = await ask(bench, "catalogue diff", file)
    assert (told.code, told.report["changes"]) == (0, [])
    await _load(bench, file)
    assert await _rows(bench) == before
    assert (await _run(bench, "export")).stdout == exported.stdout


async def test_an_export_does_not_take_back_what_is_revoked_after_it(bench: Workbench, tmp_path: Path) -> None:
    """It does not speak of the revocation of a key that was valid."""
    await _load(bench, _file(tmp_path, HOSTILE))
    file = _file(tmp_path, (await _run(bench, "export")).stdout)
    assert (await ask(bench, "keys revoke", "cd" * 32, "--execute", "--reason", "a test")).code == 0
    assert (await ask(bench, "catalogue diff", file)).code == 0
    before = await _rows(bench)
    await _load(bench, file)
    assert await _rows(bench) == before


async def test_an_export_of_one_company_stands_alone(bench: Workbench, servers: Infrastructure, tmp_path: Path) -> None:
    """What it has and uses, and nothing of others; an empty database takes it."""
    await _load(bench, str(EXAMPLE), _file(tmp_path, HOSTILE))
    exported = await _run(bench, "export", "--company", COMPANY.upper())
    assert exported.returncode == 0
    contents = json.loads(exported.stdout)
    expected = deepcopy(HOSTILE)
    del expected["companies"][1]
    first, second, third = expected["companies"][0]["apiKeys"]
    first["revokedAt"] = "2026-01-01T00:02:03.123456Z"
    expected["companies"][0]["apiKeys"] = [first, third, second]
    assert contents == expected
    async with fresh_database(servers.database_url) as url:
        connection = await asyncpg.connect(url)
        await migrate(connection)
        await connection.close()
        empty = {"PASSPORT_DATABASE_URL": url}
        file = _file(tmp_path, exported.stdout)
        told = await ask(bench, "catalogue diff", file, **empty)
        assert (told.code, told.report["added"]) == (1, 7)
        assert (await _run(bench, "load", file, **empty)).returncode == 0
        assert (await _run(bench, "export", **empty)).stdout == exported.stdout


async def test_an_empty_catalogue_is_exported(bench: Workbench, tmp_path: Path) -> None:
    """As a file that brings nothing."""
    exported = await _run(bench, "export")
    assert json.loads(exported.stdout) == {"plans": [], "companies": [], "templates": [], "products": []}
    await _load(bench, _file(tmp_path, exported.stdout))


_MEASURED = """
import sys
from worker.tools.cli.main import main
main(["catalogue", "export"])
status = open("/proc/self/status", encoding="ascii")  # getrusage begins with what the parent had
print(next(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""
"""In kilobytes."""


@pytest.mark.long
async def test_a_large_export_in_bounded_memory(bench: Workbench, tmp_path: Path) -> None:
    """Of 20,000 companies with two keys each; and it ends quietly when nobody reads on."""
    connection = await bench.connect()
    await connection.execute(
        "INSERT INTO plan VALUES ('p'); "
        "INSERT INTO company SELECT lpad(to_hex(n), 24, '0'), 'n', 'p', NULL, json_build_object('k', repeat('x', 500)) "
        "FROM generate_series(1, 20000) n; "
        "INSERT INTO api_key SELECT sha256((id || k)::bytea), id, 'k' || k FROM company, generate_series(1, 2) k"
    )
    await connection.close()
    command = [sys.executable, "-c", _MEASURED]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, env=bench.environment, capture_output=True, text=True, check=True
    )
    companies = json.loads(done.stdout)["companies"]
    assert [len(companies), len(companies[-1]["apiKeys"])] == [20_000, 2]
    assert companies[0]["apiKeys"][1]["sha256"] == sha256(f"{companies[0]['_id']}2".encode()).hexdigest()
    assert int(done.stderr) < 150_000
    await asyncio.to_thread(_read_one_line, bench)


def _read_one_line(bench: Workbench) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "catalogue", "export"],
        cwd=REPOSITORY,
        env=bench.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "{\n"
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""


def _changed(told: Told) -> list[tuple[Any, ...]]:
    return [
        (
            *(row[name] for name in ("kind", "id", "company", "change")),
            *((one["path"], one["how"], one["old"], one["new"]) for one in row["fields"]),
        )
        for row in told.report["changes"]
    ]


async def test_every_kind_of_change_is_found(bench: Workbench, tmp_path: Path) -> None:
    """Each field with what was and what would be; loading then does just this."""
    await _load(bench, _file(tmp_path, HOSTILE))
    new = deepcopy(HOSTILE)
    new["plans"][0]["maxDpps"] = 7
    new["plans"].append({"id": "new", "maxDpps": None, "overagePriceCents": None, "maxV1WritesPerDay": None})
    company, other = new["companies"]
    company.update(name="N", plan="new", subscription=None, prefill={"z": 1, "new": "\u0000"})
    company["apiKeys"][0].update(label="x", revokedAt=None)
    company["apiKeys"].append({"key": "tp_new", "label": "n"})
    other["_id"] = "e" * 24
    template, product = new["templates"][0], new["products"][0]
    template.update(
        category="C",
        version=1,
        fields=[{"key": "first", "dataType": "string"}, {**template["fields"][0], "defaultValue": 1}],
    )
    new["templates"].append({**template, "_id": "f" * 24})
    product.update(name="N", model="M", companyId="e" * 24, templateId="f" * 24, defaultFieldValues={"first": 2})
    new["products"].append({**product, "_id": "1" * 24})
    told = await ask(bench, "catalogue diff", file := _file(tmp_path, new))
    assert (told.code, told.codes, told.report["added"], told.report["changed"]) == (1, ["differs"], 5, 5)
    assert told.report["problems"][0]["text"] == "Loading the file would add rows: 5, and change rows: 5."
    names = {row["id"]: row["name"] for row in told.report["changes"]}
    assert (names[COMPANY], names[HASH], names[PRODUCT], names["new"]) == ("N", "N", other["name"], None)
    a = HOSTILE["companies"][0]["prefill"]["a"]
    assert _changed(told) == [
        ("plan", 'p "é"\u2028', None, "changed", ("maxDpps", "changed", 0, 7)),
        ("plan", "new", None, "added"),
        (
            "company",
            COMPANY,
            None,
            "changed",
            ("name", "changed", HOSTILE["companies"][0]["name"], "N"),
            ("plan", "changed", 'p "é"\u2028', "new"),
            ("subscription", "changed", "aktive", None),
            ("prefill.z", "changed", 1.0, 1),
            ("prefill.new", "added", None, "\u0000"),
            ("prefill.a", "removed", a, None),
            ('prefill["\\u00e9\\n"]', "removed", "\u0000", None),
        ),
        ("company", "e" * 24, None, "added"),
        (
            "api-key",
            HASH,
            COMPANY,
            "changed",
            ("label", "changed", "", "x"),
            ("revokedAt", "changed", "2026-01-01T00:02:03.123456Z", None),
        ),
        ("api-key", sha256(b"tp_new").hexdigest(), COMPANY, "added"),
        (
            "template",
            TEMPLATE,
            None,
            "changed",
            ("category", "changed", "c", "C"),
            ("version", "changed", 0, 1),
            ("fields.first.dataType", "changed", "number", "string"),
            ("fields.second.defaultValue", "changed", {"b": 1, "a": [2]}, 1),
            ("fields (order)", "changed", ["second", "first"], ["first", "second"]),
        ),
        ("template", "f" * 24, None, "added"),
        (
            "product",
            PRODUCT,
            "e" * 24,
            "changed",
            ("companyId", "changed", COMPANY, "e" * 24),
            ("templateId", "changed", TEMPLATE, "f" * 24),
            ("name", "changed", "n", "N"),
            ("model", "changed", "m", "M"),
            ("defaultFieldValues.first", "changed", 1, 2),
            ("defaultFieldValues.second", "removed", "é", None),
        ),
        ("product", "1" * 24, "e" * 24, "added"),
    ]
    before = await _rows(bench)
    dry = await ask(bench, "catalogue load", file, "--dry-run")
    assert (dry.code, dry.report["changes"]) == (0, told.report["changes"])
    assert await _rows(bench) == before
    await _load(bench, file)
    assert (await ask(bench, "catalogue diff", file)).code == 0


async def test_what_a_file_does_not_mention_is_no_difference(bench: Workbench, tmp_path: Path) -> None:
    """Rows, keys, and the revocation of a key. What is left out of a row that is there has its default."""
    await _load(bench, _file(tmp_path, HOSTILE))
    part = {"companies": [{**HOSTILE["companies"][0], "apiKeys": [{"sha256": HASH, "label": ""}]}]}
    assert (await ask(bench, "catalogue diff", _file(tmp_path, part))).code == 0
    assert (await ask(bench, "catalogue diff", _file(tmp_path, {}))).code == 0
    del part["companies"][0]["prefill"]
    told = await ask(bench, "catalogue diff", _file(tmp_path, part))
    assert {one["how"] for row in told.report["changes"] for one in row["fields"]} == {"removed"}


async def test_a_file_that_would_be_refused_is_told(bench: Workbench, tmp_path: Path) -> None:
    """With all its problems, by both verbs; what is wrong within the file needs no database."""
    await _load(bench, _file(tmp_path, HOSTILE))
    taken = {"companies": [{**HOSTILE["companies"][1], "plan": "none", "apiKeys": [{"sha256": HASH}]}]}
    for verb, more in (("diff", ()), ("load", ("--dry-run",))):
        told = await ask(bench, f"catalogue {verb}", _file(tmp_path, taken), *more)
        assert told.code == 1
        assert [one["text"] for one in told.report["problems"] if one["code"] == "cannot-be-loaded"] == [
            "companies[0].plan: Expected a plan in file or database, got none",
            "companies[0].apiKeys[0]: Expected a key of this company, got one that belongs to another company",
        ]
        wrong = await ask(
            bench,
            f"catalogue {verb}",
            _file(tmp_path, {"plans": [{}]}),
            *more,
            PASSPORT_DATABASE_URL="postgresql://h:1/x",
        )
        assert (wrong.code, set(wrong.codes)) == (1, {"cannot-be-loaded"})
        broken = await _run(bench, verb, _file(tmp_path, "plans: [", "broken.yaml"), *more)
        assert (broken.returncode, broken.stdout) == (2, "")
        assert "Expected YAML" in broken.stderr


async def test_people_get_a_table_and_warnings(bench: Workbench, tmp_path: Path) -> None:
    """What is loaded and cannot be meant is said on stderr, as by `load`; control characters reach no terminal."""
    file = _file(tmp_path, HOSTILE)
    done = await _run(bench, "load", file, "--dry-run", COLUMNS="200")
    assert done.returncode == 0
    assert "passport-worker: warning: companies[0].subscription: Expected one of active" in done.stderr
    assert done.stdout.splitlines()[-1] == "rows that would be added: 8, changed: 0"
    await _load(bench, file)
    new = deepcopy(HOSTILE)
    new["companies"][0]["prefill"] = {**new["companies"][0]["prefill"], "z": "x" * 100, "bell": "\u0007"}
    done = await _run(bench, "diff", _file(tmp_path, new), COLUMNS="250")
    assert done.returncode == 1
    assert re.search(rf'company +{COMPANY} +.+ +prefill\.z +changed +1\.0 +"{"x" * 59}…', done.stdout)
    assert re.search(rf'company +{COMPANY} +.+ +prefill\.bell +added +- +"\\u0007"\n', done.stdout)
    assert done.stdout.splitlines()[-1] == "differs Loading the file would add rows: 0, and change rows: 1."
    equal = await _run(bench, "diff", _file(tmp_path, HOSTILE))
    assert (equal.returncode, equal.stdout) == (0, "rows that would be added: 0, changed: 0\n")
    plans = [{**HOSTILE["plans"][0], "id": f"new {number}"} for number in range(1_001)]
    many = await _run(bench, "load", "--dry-run", _file(tmp_path, {"plans": plans}))
    assert many.stdout.splitlines()[-2:] == [
        "and 1 more; --json has all of them",
        "rows that would be added: 1001, changed: 0",
    ]


async def test_what_is_in_the_way_is_told(servers: Infrastructure, bench: Workbench, tmp_path: Path) -> None:
    """A role without rights, an unknown company, a database that is away; an export prints nothing then."""
    file = _file(tmp_path, {})
    async with two_roles(servers.database_url) as roles:
        owner, run = ({"PASSPORT_DATABASE_URL": url} for url in (roles.owner_url, roles.run_url))
        empty = await ask(bench, "catalogue diff", file, **owner)
        assert (empty.code, empty.codes) == (1, ["schema-differs"])
        assert (await asyncio.to_thread(run_command, "migrate", **owner)).returncode == 0
        refused = await ask(bench, "catalogue diff", file, **run)
        assert (refused.code, refused.codes) == (1, ["postgres-rights"])
        export = await _run(bench, "export", **run)
        assert (export.returncode, export.stdout) == (1, "")
        assert export.stderr.startswith(f"passport-worker: The role {roles.run} lacks SELECT on table schema_migration")
    unknown = await _run(bench, "export", "--company", "f" * 24)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == f"passport-worker: The catalogue has no company {'f' * 24}.\n"
    url = f"{bench.settings.database_url}_gone"
    away = await _run(bench, "export", PASSPORT_DATABASE_URL=url)
    assert (away.returncode, away.stdout, len(away.stderr.splitlines())) == (1, "", 1)
    assert "The database refuses us: database" in away.stderr
    assert (await ask(bench, "catalogue diff", file, PASSPORT_DATABASE_URL=url)).codes == ["postgres-away"]


async def test_each_load_is_kept_with_who_and_why(bench: Workbench, tmp_path: Path) -> None:
    """The row is committed with the file's rows: a file that is refused, and a dry run, leave neither."""
    file = _file(tmp_path, HOSTILE)
    unknown = _file(tmp_path, {"companies": [{**HOSTILE["companies"][0], "plan": "nobody's"}]}, "refused.json")
    assert (await _run(bench, "load", unknown, "--by", "Anna")).returncode == 1
    assert (await _run(bench, "load", file, "--dry-run", "--by", "Anna")).returncode == 0
    loaded = await _run(bench, "load", file, "--by", "Anna", "--reason", "new customer, not tp_0123456789abcdef")
    assert loaded.returncode == 0
    assert (await _run(bench, "load", file, PASSPORT_OPERATOR="pipeline")).returncode == 0
    connection = await bench.connect()
    rows = await connection.fetch("SELECT * FROM operation ORDER BY begun_at")
    await connection.close()
    assert [(row["verb"], row["outcome"], row["who"], row["reason"]) for row in rows] == [
        ("catalogue load", "done", "Anna", "new customer, not tp_…"),
        ("catalogue load", "done", "pipeline", ""),
    ]
    digest = sha256(json.dumps(HOSTILE).encode()).hexdigest()
    assert json.loads(rows[0]["arguments"]) == {"file": "catalogue.json", "sha256": digest}
    assert json.loads(rows[0]["progress"])["companies"] == len(HOSTILE["companies"])
    assert rows[0]["begun_at"] < rows[0]["ended_at"]


async def test_a_role_that_may_not_keep_the_row_loads_nothing(
    servers: Infrastructure, bench: Workbench, tmp_path: Path
) -> None:
    """It is told which rights it lacks before anything is read."""
    async with two_roles(servers.database_url) as roles:
        owner = await asyncpg.connect(roles.owner_url)
        await migrate(owner)
        await owner.execute(f'GRANT SELECT ON schema_migration TO "{roles.run}"')
        await owner.execute(f'GRANT SELECT, INSERT, UPDATE ON plan TO "{roles.run}"')
        await owner.close()
        file = _file(tmp_path, {"plans": HOSTILE["plans"]})
        done = await _run(bench, "load", file, PASSPORT_DATABASE_URL=roles.run_url)
    assert done.returncode == 1
    assert f"The role {roles.run} lacks SELECT on table operation, INSERT on table operation, UPDATE on " in done.stderr


async def test_the_workers_role_is_told_to_name_the_owner(
    servers: Infrastructure, bench: Workbench, tmp_path: Path
) -> None:
    """It may keep rows of `operation`, but no reference data, and may not change the schema."""
    async with two_roles(servers.database_url) as roles:
        owner = await asyncpg.connect(roles.owner_url)
        await migrate(owner)
        await grant_rights(owner, roles.run, RUN)
        await owner.close()
        file = _file(tmp_path, {"plans": HOSTILE["plans"]})
        loaded = await _run(bench, "load", file, PASSPORT_DATABASE_URL=roles.run_url)
        url = {"PASSPORT_DATABASE_URL": roles.run_url}
        migrated = await asyncio.to_thread(run_command, "migrate", **{**bench.environment, **url})
    advice = "name the owner of the tables in PASSPORT_DATABASE_URL.\n"
    denied = "passport-worker: permission denied for table plan, so nothing was loaded: "
    assert (loaded.returncode, loaded.stderr) == (1, denied + advice)
    assert (migrated.returncode, migrated.stderr.endswith(f": {advice}")) == (1, True), migrated


async def test_a_file_whose_name_is_no_utf8(bench: Workbench, tmp_path: Path) -> None:
    """As archives of Windows unpack them. Seen to fail before: `InvalidTextRepresentationError`."""
    catalogue = tmp_path / "Ger\udce4te.yaml"
    catalogue.write_text("plans: []\n")
    loaded = await _run(bench, "load", str(catalogue))
    assert loaded.returncode == 0, loaded
