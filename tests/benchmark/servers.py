"""The servers of a run: a real Apache Kafka, and PostgreSQL with fsync on."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.infrastructure.archiving import ArchivingPostgres
from tests.infrastructure.choose import REQUIRE_REAL_KAFKA, infrastructure, server_directory
from tests.infrastructure.kafka import KafkaMissing, LocalKafka
from worker.tools.demo.embedded import EmbeddedPostgres

_POSTGRES_SETTINGS = (
    "shared_preload_libraries=pg_stat_statements",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "min_wal_size=2GB",
    "checkpoint_timeout=15min",
)


class _WarmKafka(LocalKafka):
    """As a JVM runs it in production, with all of its compilers."""

    jvm_options = ()


@dataclass(frozen=True)
class Servers:
    """Where they are, and a folder for logs.

    `has_statements`: `pg_stat_statements` is loaded. `kafka_pids`: the broker's process, where it is ours.
    """

    bootstrap_servers: str
    database_url: str
    directory: Path
    kind: str
    has_statements: bool
    kafka_pids: tuple[int, ...] = ()

    def clean_environment(self) -> dict[str, str]:
        """Our environment without settings of some worker."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}


@contextmanager
def servers(broker_disk: Path | None = None) -> Iterator[Servers]:
    """From Maven and the wheel; without Maven, or where addresses are given, whatever `tests.infrastructure` finds.

    The broker's files are in `broker_disk`; if it is None, beside the database's.
    """
    with server_directory() as directory, server_directory(broker_disk) as broker_directory:
        if "PASSPORT_TEST_DATABASE_URL" in os.environ:
            with _found(directory) as found:
                yield found
            return
        try:
            kafka = _WarmKafka(broker_directory)
        except KafkaMissing:
            with _found(directory) as found:
                yield found
            return
        with kafka, EmbeddedPostgres(directory, *_POSTGRES_SETTINGS) as postgres:
            kind = "Apache Kafka through Maven, PostgreSQL wheel"
            asyncio.run(_recycle_wal(postgres.url))
            yield Servers(kafka.bootstrap_servers, postgres.url, directory, kind, True, (kafka.pid,))


@contextmanager
def archiving_servers() -> Iterator[tuple[Servers, ArchivingPostgres]]:
    """From Maven and the wheel, with an archive of the log. Raises `ServerMissing`."""
    settings = [one for one in _POSTGRES_SETTINGS if "preload" not in one]
    with (
        server_directory() as directory,
        _WarmKafka(directory) as kafka,
        ArchivingPostgres(directory, *settings) as postgres,
    ):
        kind = "Apache Kafka through Maven, PostgreSQL wheel with an archive"
        yield Servers(kafka.bootstrap_servers, postgres.url, directory, kind, False, (kafka.pid,)), postgres


_WAL_SEGMENTS = 2048 // 16


async def _recycle_wal(database_url: str) -> None:
    """Leave `min_wal_size` of segments to be written again, as a server has that has run for a while.

    A new one makes each 16 MB anew, with zeros and an fsync of them, while COMMITs wait.
    """
    connection = await asyncpg.connect(database_url)
    try:
        for _ in range(_WAL_SEGMENTS):
            await connection.execute("SELECT pg_logical_emit_message(false, 'passport', ''), pg_switch_wal()")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


@contextmanager
def _found(directory: Path) -> Iterator[Servers]:
    os.environ[REQUIRE_REAL_KAFKA] = "1"
    with infrastructure() as one:
        pids = (one.kafka.pid,) if one.kafka else ()
        yield Servers(one.bootstrap_servers, one.database_url, directory, one.kind, False, pids)
