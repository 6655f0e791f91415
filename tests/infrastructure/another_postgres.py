"""PostgreSQL as an administrator has it, with `pg_ctl`, and the scripts that bring it to a newer version."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.infrastructure.archiving import SCRIPTS
from tests.infrastructure.choose import server_directory
from tests.infrastructure.postgres import programs_of_debian, programs_of_wheel
from worker.tools.demo.embedded import HOST, free_port, let_others_reach

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'  # pg_upgrade looks for a live server there
"""


@dataclass
class Server:
    """A PostgreSQL that `pg_ctl` starts and stops, as an administrator has it. Root has another user run it."""

    programs: Path
    data: Path
    port: int
    password: str = ""

    @property
    def url(self) -> str:
        """The maintenance database."""
        password = f":{self.password}" if self.password else ""
        return f"postgresql://postgres{password}@{HOST}:{self.port}/postgres"

    def make(self, *more: str) -> None:
        """Initialise, with its address in its own settings, and start it; `more` are options of initdb."""
        let_others_reach(self.programs)
        options = ["-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C", *more]
        run([self.programs / "initdb", "-D", self.data, *options], self.data.parent)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(port=self.port, folder=self.data.parent))
        run([self.programs / "pg_ctl", "start", "-w", "-D", self.data, "-l", self.data / "log"], self.data.parent)

    def ask_for_passwords(self, password: str) -> None:
        """From now on each role needs its password, and the administrator has this one."""
        statement = f"ALTER ROLE postgres PASSWORD '{password}'"
        run([self.programs / "psql", self.url, "--command", statement], self.data.parent)
        rules = self.data / "pg_hba.conf"
        rules.write_text(rules.read_text().replace("trust", "scram-sha-256"))
        run([self.programs / "pg_ctl", "reload", "-D", self.data], self.data.parent)
        self.password = password

    def stop(self) -> None:
        """Whoever started it."""
        if (self.data / "postmaster.pid").exists():
            run([self.programs / "pg_ctl", "stop", "-m", "immediate", "-D", self.data], self.data.parent)


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> None:
    """As the user of the servers. Fails with what the command printed."""
    with (folder / "printed").open("w+") as printed:  # a server that stays inherits it, and would keep a pipe open
        done = subprocess.run(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            user="nobody" if os.geteuid() == 0 else None,
            cwd=folder,
            env={**os.environ, **environment},
            timeout=120,
        )
        printed.seek(0)
        assert done.returncode == 0, printed.read()[-5000:]


@contextmanager
def old_server(major: str, *options: str) -> Iterator[Server]:
    """One of Debian's versions. Raises `ServerMissing`."""
    programs = programs_of_debian(major)
    with server_directory() as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        server = Server(programs, folder / "old", free_port())
        server.make(*options)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def newest_beside(old: Server) -> Iterator[Server]:
    """The wheel's version, which nobody has initialised yet."""
    server = Server(programs_of_wheel(), old.data.parent / "new", free_port())
    try:
        yield server
    finally:
        server.stop()


def _script(name: str, folder: Path) -> Path:
    """A copy, since the user of the servers may not be able to reach the checkout."""
    return Path(shutil.copy(SCRIPTS / name, folder))


def upgrade(old: Server, new: Server) -> None:
    """Run the script of pg_upgrade. The new server has the address of the old one."""
    run(
        [_script("postgres-upgrade.sh", old.data.parent)],
        old.data.parent,
        OLD_BIN=str(old.programs),
        NEW_BIN=str(new.programs),
        OLD_DATA=str(old.data),
        NEW_DATA=str(new.data),
        PGHOST=HOST,
        PGPORT=str(old.port),
    )


def copy(database_url: str, new: Server, *roles: str) -> None:
    """Run the script of dump and restore, to a server that runs."""
    run(
        [_script("postgres-copy.sh", new.data.parent)],
        new.data.parent,
        OLD=database_url,
        NEW=new.url,
        ROLES=" ".join(roles),
        DUMP=str(new.data.parent / "dump"),
        PATH=f"{new.programs}:{os.environ['PATH']}",
    )
