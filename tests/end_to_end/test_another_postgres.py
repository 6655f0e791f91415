"""Another PostgreSQL beneath a worker that waits meanwhile: the scripts of `deploy/move.md`, from 15 to the newest."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.infrastructure.another_postgres import Server, copy, newest_beside, old_server, run, upgrade
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.operations.mixture import contents
from tests.workbench import Workbench, make_workbench, run_command, tenant, until
from worker.tools.demo.embedded import HOST, ServerMissing

pytestmark = pytest.mark.real_kafka

OLD_MAJOR = "15"
ROLE, PASSWORD = "passport_worker_moved", "of-a-test"


@pytest.fixture
def old(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The oldest supported version, without data checksums, as it is made by default, or with a test's options."""
    try:
        with old_server(OLD_MAJOR, *getattr(request, "param", ())) as server:
            yield server
    except ServerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def new(old: Server) -> Iterator[Server]:
    """The newest version beside the old one; nobody has initialised it yet."""
    with newest_beside(old) as server:
        yield server


@pytest.fixture
async def bench(servers: Infrastructure, old: Server, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """On the old server, which goes at the end, whatever is in it."""
    database = fresh_database(old.url)
    url = await database.__aenter__()
    bench = await make_workbench(servers.bootstrap_servers, url, kafka_prefix)
    yield bench
    await asyncio.to_thread(bench.kill_workers)


def commands(bench: Workbench, name: str, count: int = 200) -> list[dict[str, object]]:
    """With idempotency keys that come twice."""
    one = tenant(1)
    return [bench.command(one, 1, f"{name}-{n // 2}", key=f"{name}-{n // 2}", partition=n % 2) for n in range(count)]


async def publish_until_done(bench: Workbench, script: "asyncio.Task[None]") -> int:
    """Commands that come while a script runs."""
    count = 0
    while not script.done():
        await asyncio.to_thread(bench.publish, commands(bench, f"meanwhile-{count}", 20))
        count += 20
        await asyncio.wait([script], timeout=0.2)
    await script
    return count


async def version_of(url: str) -> str:
    """The major version of a server."""
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version")).partition(".")[0]
    finally:
        await connection.close()


def assert_it_looked(log: Path, version: str) -> None:
    """Another system answers: the lanes were opened again, once, and none has halted."""
    text = log.read_text()
    assert version != OLD_MAJOR
    assert text.count('"database_is_another"') == 1
    assert '"lane_halted"' not in text


@pytest.mark.parametrize(
    "old",
    [pytest.param((), id="by default"), pytest.param(("--data-checksums",), id="checksums", marks=pytest.mark.repeat)],
    indirect=True,
)
async def test_pg_upgrade_beneath_a_running_worker(bench: Workbench, old: Server, new: Server, tmp_path: Path) -> None:
    """At the same address. The worker waits, looks, and goes on by itself; nothing is lost or doubled."""
    log = tmp_path / "worker.log"
    bench.start_worker(log)
    bench.publish(commands(bench, "before"))
    await bench.wait_for_results(200)
    script = asyncio.to_thread(upgrade, old, new)
    meanwhile = await publish_until_done(bench, asyncio.ensure_future(script))
    bench.publish(commands(bench, "after"))
    await bench.wait_for_results(400 + meanwhile)
    assert_it_looked(log, await version_of(old.url))
    await check_invariants(bench)
    assert (await ask(bench, "audit")).code == 0


async def test_pg_upgrade_leaves_the_archive_alone(old: Server, new: Server) -> None:
    """The new server starts to count its log anew, so names of files came again: the archive refused them.

    Workers waited for that, and an archive without the old files would have taken them. Afterwards it archives again.
    """
    archive = old.data.parent / "archive"
    archive.mkdir()
    shutil.chown(archive, old.data.owner())
    with (old.data / "postgresql.conf").open("a") as settings:
        settings.write(f"archive_mode = on\narchive_command = 'test ! -e {archive}/%f && cp %p {archive}/%f'\n")
    restart: list[str | Path] = [old.programs / "pg_ctl", "restart", "-w", "-D", old.data, "-l", old.data / "log"]
    await asyncio.to_thread(run, restart, old.data.parent)
    await _archived(old.url, archive)
    await asyncio.to_thread(upgrade, old, new)
    assert await _archived(old.url, archive) == 0


async def test_dump_and_restore_beneath_a_running_worker(
    bench: Workbench, old: Server, new: Server, tmp_path: Path
) -> None:
    """To another address, which the file of the URL names afterwards. The old server takes no worker any more."""
    log, file = tmp_path / "worker.log", tmp_path / "url"
    await _make_role(bench)
    database = urlsplit(bench.settings.database_url).path
    file.write_text(f"postgresql://{ROLE}:{PASSWORD}@{HOST}:{old.port}{database}\n")
    del bench.environment["PASSPORT_DATABASE_URL"]  # only one of both may be set
    bench.start_worker(log, PASSPORT_DATABASE_URL_FILE=str(file))
    bench.publish(commands(bench, "before"))
    await bench.wait_for_results(200)
    await asyncio.to_thread(new.make)
    script = asyncio.to_thread(copy, bench.settings.database_url, new, ROLE)
    meanwhile = await publish_until_done(bench, asyncio.ensure_future(script))
    moved = urlsplit(new.url)._replace(path=database).geturl()
    assert await contents(moved) == await contents(bench.settings.database_url)
    file.write_text(f"postgresql://{ROLE}:{PASSWORD}@{HOST}:{new.port}{database}\n")
    await asyncio.to_thread(old.stop)
    bench.settings = bench.settings.model_copy(update={"database_url": moved})
    bench.environment["PASSPORT_DATABASE_URL"] = moved
    bench.publish(commands(bench, "after"))
    await bench.wait_for_results(400 + meanwhile)
    assert_it_looked(log, await version_of(new.url))
    await check_invariants(bench)
    assert (await ask(bench, "audit")).code == 0


async def test_the_other_server_keeps_the_password_of_its_administrator(old: Server, new: Server) -> None:
    """The roles of the old server hold the password of its own. It would lock the script out once workers are."""
    await asyncio.to_thread(new.make)
    await asyncio.to_thread(old.ask_for_passwords, "of-the-old")
    await asyncio.to_thread(new.ask_for_passwords, "of-the-new")
    connection = await asyncpg.connect(old.url)
    await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute("CREATE DATABASE moved")
    await connection.close()
    await asyncio.to_thread(copy, urlsplit(old.url)._replace(path="/moved").geturl(), new, ROLE)
    roles = new.data.parent / "dump.roles"
    assert "SCRAM-SHA-256$" in roles.read_text()
    assert roles.stat().st_mode & 0o077 == 0  # nobody else reads the hashes of passwords
    for role in ("postgres:of-the-new", f"{ROLE}:{PASSWORD}"):
        moved = await asyncpg.connect(f"postgresql://{role}@{HOST}:{new.port}/moved")
        await moved.close()


async def test_a_copy_that_failed_may_be_run_again(old: Server, new: Server) -> None:
    """It ends before workers have to wait, where it can. A second run finds roles that may not log in any more."""
    await asyncio.to_thread(new.make)
    connection = await asyncpg.connect(old.url)
    await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
    await connection.execute("CREATE DATABASE moved")
    moved, folder = urlsplit(old.url)._replace(path="/moved").geturl(), new.data.parent / "dump"
    folder.mkdir()
    with pytest.raises(AssertionError, match="dump exists"):
        await asyncio.to_thread(copy, moved, new, ROLE)
    assert await connection.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", ROLE)
    folder.rmdir()
    await connection.execute(f"ALTER ROLE {ROLE} NOLOGIN")
    await connection.close()
    await asyncio.to_thread(copy, moved, new, ROLE)
    worker = await asyncpg.connect(f"postgresql://{ROLE}@{HOST}:{new.port}/moved")
    await worker.close()


async def _archived(url: str, archive: Path) -> int:
    """Wait until the archive has the file of the log that is written now; how often it has refused one."""
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
    await until((archive / name).exists, 30, f"{name} is archived")
    refused = await connection.fetchval("SELECT failed_count FROM pg_stat_archiver")
    await connection.close()
    return int(refused)


async def _make_role(bench: Workbench) -> None:
    """The one that workers have, with a password."""
    connection = await bench.connect()
    await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
    await connection.close()
    granted = await asyncio.to_thread(run_command, "migrate", "--grant-to", ROLE, **bench.environment)
    assert granted.returncode == 0, granted.stderr
