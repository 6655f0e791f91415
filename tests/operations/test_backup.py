"""Backups by the scripts of `deploy/scripts`: a lost server is restored, and then lacks nothing that was published."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from tests.infrastructure.archiving import ArchivingPostgres, run_script
from tests.infrastructure.choose import Infrastructure, own_server
from tests.infrastructure.standby import standby_of
from tests.integration.guards_helpers import running, set_topic
from tests.invariants import check_invariants
from tests.operations.asking import ask
from tests.operations.mixture import as_role, limit_tenants, mixture
from tests.workbench import REPOSITORY, Workbench, make_workbench, run_command, until
from worker.domain.timestamps import format_time
from worker.tools.common.rights import READER

pytestmark = pytest.mark.real_kafka

PIECE = 400


@pytest.fixture
def archiving() -> Iterator[ArchivingPostgres]:
    """A server with an archive."""
    with own_server(ArchivingPostgres, "a PostgreSQL") as postgres:
        yield postgres


@pytest.fixture
async def backed_up(
    servers: Infrastructure, archiving: ArchivingPostgres, kafka_prefix: str
) -> AsyncIterator[Workbench]:
    """A workbench on that server."""
    bench = await make_workbench(servers.bootstrap_servers, archiving.url, kafka_prefix)
    await limit_tenants(bench)
    yield bench
    await asyncio.to_thread(bench.kill_workers)


async def _answered(bench: Workbench) -> int:
    connection = await bench.connect()
    try:
        return int(await connection.fetchval("SELECT count(*) FROM ledger"))
    finally:
        await connection.close()


async def _newest_backup(bench: Workbench) -> str:
    report = (await ask(bench, "doctor")).report
    (status,) = [one["status"] for one in report["checks"] if one["id"] == "backup.newest"]
    return str(status)


@pytest.mark.parametrize(
    "to_a_moment",
    [
        pytest.param(True, id="a moment", marks=pytest.mark.long),
        pytest.param(False, id="the end of the archive", marks=pytest.mark.repeat),
    ],
)
async def test_a_lost_server_is_restored(
    backed_up: Workbench, archiving: ArchivingPostgres, tmp_path: Path, to_a_moment: bool
) -> None:
    """A base backup under load, more commands, and the disk is gone; meanwhile a worker and the producers go on.

    The archive lacks the file of the log that was not full yet.
    """
    bench, log, sent = backed_up, tmp_path / "worker.log", 0

    def publish() -> None:
        nonlocal sent
        bench.publish(mixture(1, PIECE, sent))
        sent += PIECE

    bench.start_worker(log)
    publish()
    await bench.wait_for_results(1)
    backing_up = asyncio.create_task(asyncio.to_thread(archiving.back_up, bench.environment))
    while not backing_up.done():
        await asyncio.to_thread(publish)
        await asyncio.sleep(0.2)
    backup = await backing_up
    await bench.wait_for_results(sent, 120)
    assert await _newest_backup(bench) == "ok"
    moment, at_the_moment = datetime.now(UTC), await _answered(bench)
    publish()
    await bench.wait_for_results(sent)
    if to_a_moment:
        await archiving.archive_all()
    archiving.lose()
    publish()
    await archiving.restore(backup, moment if to_a_moment else None)
    restored = await _answered(bench)
    assert restored == at_the_moment == sent - 2 * PIECE if to_a_moment else 0 < restored < sent - PIECE
    await until(lambda: log.read_text().count('"lane_halted"') >= 2, 60, "halted lanes")
    run_script("recover.sh", bench.environment, "the disk broke")
    await bench.wait_for_results(sent, 90)
    await check_invariants(bench)
    assert (await ask(bench, "audit")).code == 0


async def test_standbys_of_a_restored_server_follow_it(archiving: ArchivingPostgres) -> None:
    """`pg_basebackup -R` copies the settings: with a recovery target among them a standby would promote itself."""
    backup = await asyncio.to_thread(archiving.copy_base)
    await _execute(archiving.url, "CREATE TABLE before ()")
    moment = datetime.now(UTC)
    await _execute(archiving.url, "CREATE TABLE after ()")
    await archiving.archive_all()
    archiving.lose()
    await archiving.restore(backup, moment)
    assert await _tables(archiving.url) == ["before"]
    async with standby_of(archiving.url, archiving.port) as standby:
        await _execute(archiving.url, "CREATE TABLE later ()")
        await _until_tables(standby.url, ["before", "later"])
        await _execute(archiving.url, "CREATE TABLE latest ()")
        await _until_tables(standby.url, ["before", "later", "latest"])
    settings = (archiving.data / "postgresql.auto.conf").read_text()
    assert "restore" not in settings
    assert "recovery" not in settings


def test_a_restore_finds_its_archive(tmp_path: Path) -> None:
    """The server takes a file that it cannot copy for the end of the archive: it would serve without saying a word."""
    backup, data, archive = (tmp_path / name for name in ("backup", "data", "archive"))
    backup.mkdir()
    places = {"BACKUP": str(backup), "DATA": str(data), "ARCHIVE": os.path.relpath(archive)}
    with pytest.raises(AssertionError, match="exit code"):
        run_script("restore.sh", places)
    assert not data.exists()
    archive.mkdir()
    run_script("restore.sh", places)
    assert f'restore_command = \'cp "{archive}/%f" "%p"\'\n' in (data / "postgresql.auto.conf").read_text()


def test_a_copy_that_is_not_checked_is_no_backup(tmp_path: Path) -> None:
    """The newest folder is what people restore: a damaged copy, or half of one, may not look like a backup."""
    backups = tmp_path / "backups"
    backups.mkdir()
    for name, lines in (("pg_basebackup", 'mkdir "${2#--pgdata=}"'), ("pg_verifybackup", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(AssertionError, match="exit code 1"):
        run_script("backup.sh", {"SOURCE": "postgresql://one", "BACKUPS": str(backups)}, programs=tmp_path)
    assert [path.suffix for path in backups.iterdir()] == [".part"]


def test_a_restore_leaves_existing_data_alone(tmp_path: Path) -> None:
    """`cp` would copy the backup into the folder, and the old data would get the settings of the recovery."""
    backup, data = tmp_path / "backup", tmp_path / "data"
    for folder in (backup, data):
        folder.mkdir()
        (folder / "postgresql.auto.conf").write_text(f"# {folder.name}\n")
    with pytest.raises(AssertionError, match="/data exists: move it away"):
        run_script("restore.sh", {"BACKUP": str(backup), "DATA": str(data), "ARCHIVE": str(tmp_path)})
    assert {path.name: path.read_text() for path in data.iterdir()} == {"postgresql.auto.conf": "# data\n"}


def test_a_standby_that_does_not_promote_in_time_is_told(tmp_path: Path) -> None:
    """`pg_promote` waits for a minute, and then only returns false: the script must not end as if all were well."""
    (tmp_path / "psql").write_text("#!/bin/sh\necho f\n")
    (tmp_path / "psql").chmod(0o755)
    with pytest.raises(AssertionError, match="has not become the primary"):
        run_script("promote.sh", {"STANDBY": "postgresql://two/passports"}, programs=tmp_path)


def test_an_archived_file_is_safe_with_its_name(tmp_path: Path) -> None:
    """PostgreSQL deletes its own copy, so a power cut may not undo the rename: also of a file that came twice."""
    programs, archive, segment = tmp_path / "programs", tmp_path / "archive", tmp_path / "segment"
    for folder in (programs, archive):
        folder.mkdir()
    segment.write_text("log")
    (programs / "sync").write_text('#!/bin/sh\n[ -d "$1" ] && ls "$1" >> "$NOTED"\nexit 0\n')
    (programs / "sync").chmod(0o755)
    noted = tmp_path / "noted"
    for times in (1, 2):
        places = {"ARCHIVE": str(archive), "NOTED": str(noted)}
        run_script("archive.sh", places, str(segment), "0001", programs=programs)
        assert noted.read_text() == "0001\n" * times


async def test_the_newest_backup_is_compared_with_the_retention_of_topics(bench: Workbench) -> None:
    """Noted by the page's role, and by the shortest retention; an older backup that is noted later does not count."""
    now = datetime.now(UTC).replace(microsecond=0)
    assert await _newest_backup(bench) == "skipped"
    async with _job_of(bench) as job:
        noted = await ask(bench, "backup-taken", "--at", _ago(now, hours=83), PASSPORT_DATABASE_URL=job)
    assert (noted.code, datetime.fromisoformat(noted.report["takenAt"])) == (0, now - timedelta(hours=83))
    assert await _newest_backup(bench) == "ok"
    await set_topic(bench, bench.settings.dead_letter_topic, "retention.ms", str(100 * 3_600_000))
    assert await _newest_backup(bench) == "warning"
    await set_topic(bench, bench.settings.dead_letter_topic, "retention.ms", str(80 * 3_600_000))
    assert (await ask(bench, "backup-taken", "--at", _ago(now, hours=84))).code == 0
    told = await ask(bench, "doctor")
    assert told.codes == ["backup.newest"]
    assert (await ask(bench, "backup-taken")).code == 0
    assert await _newest_backup(bench) == "ok"
    assert await _newest_in_the_metrics(bench) == pytest.approx(now.timestamp(), abs=60)


async def test_a_backup_that_nobody_can_have_taken_is_refused(bench: Workbench) -> None:
    """Its job has a wrong clock, or named another time; and who may only read notes nothing."""
    told = await ask(bench, "backup-taken", "--at", _ago(datetime.now(UTC), hours=-1))
    assert (told.codes, told.report["operation"]) == (["backup-in-future"], None)
    async with as_role(bench.settings.database_url, READER) as reader:
        assert (await ask(bench, "backup-taken", PASSPORT_DATABASE_URL=reader)).codes == ["postgres-rights"]
    done = await asyncio.to_thread(run_command, "backup-taken", "--at", "yesterday", **bench.environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--at: expected" in done.stderr
    assert await _newest_backup(bench) == "skipped"


@asynccontextmanager
async def _job_of(bench: Workbench) -> AsyncIterator[str]:
    """The database for a role that has what `deploy/security.md` grants to a backup job."""
    page = (REPOSITORY / "deploy" / "security.md").read_text(encoding="utf-8")
    (rights,) = re.findall(r"^\| backup job \| `backup-taken` \| (.*?) \|", page, re.MULTILINE)
    name, connection = f"job_{uuid4().hex[:8]}", await bench.connect()
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of-a-test'")
    for right in rights.replace("the schema", "SCHEMA public").replace("`", "").split("; "):
        await connection.execute(f"GRANT {right} TO {name}")
    parts = urlsplit(bench.settings.database_url)
    yield parts._replace(netloc=f"{name}:of-a-test@{parts.netloc.rpartition('@')[2]}").geturl()
    await connection.execute(f"DROP OWNED BY {name}")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def _tables(url: str) -> list[str]:
    """The tables that a test has made, as long as the server answers."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    await connection.close()
    return sorted(str(row["relname"]) for row in rows)


async def _is_standby(url: str) -> bool:
    connection = await asyncpg.connect(url)
    answer = await connection.fetchval("SELECT pg_is_in_recovery()")
    await connection.close()
    return bool(answer)


async def _until_tables(standby: str, tables: list[str]) -> None:
    """Wait until a standby has them. Fails where it has left its primary."""
    deadline = time.monotonic() + 30
    while await _tables(standby) != tables:
        assert await _is_standby(standby), "the standby has promoted itself"
        assert time.monotonic() < deadline, f"{standby} does not get {tables}"
        await asyncio.sleep(0.05)


def _ago(now: datetime, hours: int) -> str:
    return format_time(now - timedelta(hours=hours))


async def _newest_in_the_metrics(bench: Workbench) -> float:
    async with running(bench) as one:
        value = one.worker._metrics.registry.get_sample_value
        await until(lambda: (value("passport_backup_newest_timestamp_seconds") or 0) > 0, 10, "the newest backup")
        return value("passport_backup_newest_timestamp_seconds") or 0
