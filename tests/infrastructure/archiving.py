"""A PostgreSQL that is backed up and restored by the scripts of `deploy/scripts`."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import asyncpg

from tests.infrastructure.postgres import chosen_programs
from worker.tools.demo.embedded import EmbeddedPostgres

_REPOSITORY = Path(__file__).parent.parent.parent
SCRIPTS = _REPOSITORY / "deploy" / "scripts"


def run_script(name: str, environment: Mapping[str, str], *arguments: str, programs: Path | None = None) -> str:
    """Run a script of `deploy/scripts` to its end; what it printed. Fails with that where the script fails.

    In its PATH are `passport-worker` and, where they are named, PostgreSQL's programs.
    """
    path = [Path(sys.executable).parent, *([programs] if programs else []), os.environ.get("PATH", os.defpath)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
    done = subprocess.run(
        ["sh", str(SCRIPTS / name), *arguments],
        env={**clean, "PYTHONPATH": str(_REPOSITORY), "PATH": os.pathsep.join(map(str, path)), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{name} ended with exit code {done.returncode}:\n{done.stdout}"
    return done.stdout


async def until_promoted(url: str, seconds: float = 120) -> None:
    """Wait until a server that recovers, or follows another, takes writes. Before that it may answer readers."""
    connection = await asyncpg.connect(url)
    deadline = time.monotonic() + seconds
    try:
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            assert time.monotonic() < deadline, f"{url} takes no writes after {seconds} s"
            await asyncio.sleep(0.05)
    finally:
        await connection.close()


class ArchivingPostgres(EmbeddedPostgres):
    """The server with an archive of its log. Archive and base backups outlive its data."""

    def __init__(self, directory: Path, *settings: str) -> None:
        self.archive, self.backups = directory / "archive", directory / "backups"
        scripts = directory / "scripts"  # where the server's own user can read them
        archiving = f"archive_command=ARCHIVE={self.archive} sh {scripts}/archive.sh %p %f"
        super().__init__(directory, "archive_mode=on", archiving, *settings, programs=chosen_programs())
        shutil.copytree(SCRIPTS, scripts)
        for folder in (self.archive, self.backups):
            folder.mkdir()
            self._give(folder)

    @property
    def data(self) -> Path:
        """The folder that a restore makes anew."""
        return self._data

    @property
    def programs(self) -> Path:
        """The folder of `postgres`, `pg_basebackup` and the others."""
        return Path(self.command()[0]).parent

    def back_up(self, environment: Mapping[str, str]) -> Path:
        """Take a base backup, with the settings of a worker in the environment; its folder."""
        before = set(self.backups.iterdir())
        places = {"SOURCE": self.url, "BACKUPS": str(self.backups)}
        run_script("backup.sh", {**environment, **places}, programs=self.programs)
        (made,) = set(self.backups.iterdir()) - before
        return made

    def copy_base(self) -> Path:
        """Take a base backup without the script, which needs the tables of workers; its folder."""
        folder = self.backups / "base"
        taking = [str(self.programs / "pg_basebackup"), f"--dbname={self.url}", f"--pgdata={folder}"]
        subprocess.run([*taking, "--checkpoint=fast"], check=True, timeout=60)
        return folder

    async def archive_all(self) -> None:
        """Wait until the archive has everything that was committed so far."""
        connection = await asyncpg.connect(self.url)
        try:
            name = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
        finally:
            await connection.close()
        deadline = time.monotonic() + 60
        while not (self.archive / name).exists():
            assert time.monotonic() < deadline, f"{name} is not archived:\n{self.log_tail()}"
            await asyncio.sleep(0.05)

    def lose(self) -> None:
        """Crash, and lose the disk, but not the archive and the backups."""
        self.kill()
        shutil.rmtree(self.data)

    async def restore(self, backup: Path, moment: datetime | None = None) -> None:
        """Put the server's data back, as they were at the moment or when the log was last archived, and serve.

        The moment is of UTC and is written with a `Z`, which PostgreSQL itself refuses.
        """
        written = "" if moment is None else moment.isoformat().replace("+00:00", "Z")
        places = {"BACKUP": str(backup), "DATA": str(self.data), "ARCHIVE": str(self.archive)}
        run_script("restore.sh", {**places, "MOMENT": written})
        self._give(self.data)
        self.start()
        await until_promoted(self.url)

    def _give(self, folder: Path) -> None:
        """Everything in the folder belongs to the server's user."""
        if self.user is not None:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, self.user)
