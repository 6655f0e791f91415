"""A PostgreSQL that follows another one by streaming replication."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.infrastructure.archiving import run_script, until_promoted
from tests.infrastructure.choose import server_directory
from tests.infrastructure.postgres import SHARED_BY_ALL, chosen_programs
from worker.tools.demo.embedded import HOST, EmbeddedPostgres


class Standby(EmbeddedPostgres):
    """Follows the primary that answers at a port, which a `Link` may stand in front of."""

    def __init__(self, directory: Path, primary_port: int) -> None:
        super().__init__(directory, *SHARED_BY_ALL, programs=chosen_programs())
        self._primary = f"postgresql://postgres@{HOST}:{primary_port}/postgres?application_name=standby"

    @property
    def programs(self) -> Path:
        """The folder of `postgres`, `psql` and the others."""
        return Path(self.command()[0]).parent

    def _initialise(self) -> None:
        """Copy the primary's data, in place of making new ones."""
        super()._initialise()
        for path in self._data.iterdir():
            subprocess.run(["rm", "-r", str(path)], check=True)
        copying = [str(self.programs / "pg_basebackup"), "--dbname", self._primary, "--pgdata", str(self._data)]
        copying += ["--checkpoint=fast", "--write-recovery-conf"]
        done = subprocess.run(copying, user=self.user, cwd=self._data.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    async def promote(self) -> None:
        """By the script, and until it takes writes."""
        await asyncio.to_thread(run_script, "promote.sh", {"STANDBY": self.url}, programs=self.programs)
        await until_promoted(self.url)


@asynccontextmanager
async def standby_of(primary_url: str, port: int) -> AsyncIterator[Standby]:
    """A standby that has everything, on whose behalf no commit waits. It reaches the primary at this port."""
    with server_directory() as directory:
        standby = Standby(directory, port)
        await asyncio.to_thread(standby.start)
        try:
            await _until(primary_url, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
            yield standby
        finally:
            await asyncio.to_thread(standby.stop)


async def have_commits_wait(primary_url: str) -> None:
    """From now on a commit is answered once the standby has it, too."""
    connection = await asyncpg.connect(primary_url)
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby)'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    await _until(primary_url, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'quorum'")


def either(first: str, second: str) -> str:
    """The URL of whichever of two servers is the primary."""
    servers = ",".join(f"{HOST}:{urlsplit(url).port}" for url in (first, second))
    return f"postgresql://postgres@{servers}/postgres?target_session_attrs=read-write"


async def _until(url: str, question: str, seconds: float = 30) -> None:
    connection = await asyncpg.connect(url)
    deadline = time.monotonic() + seconds
    try:
        while not await connection.fetchval(question):
            assert time.monotonic() < deadline, f"not after {seconds} s: {question}"
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
