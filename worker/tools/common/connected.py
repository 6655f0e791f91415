"""Connections to both servers at once, for verbs that read both logs and the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LogReader
from worker.tools.common.history import Topics, topics_of
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.servers import Servers


@dataclass(frozen=True, slots=True)
class Connected:
    """A session of the database, a reader of committed records, and where results of partitions go."""

    servers: Servers
    database: Inspection
    reader: LogReader
    topics: Topics

    @property
    def settings(self) -> Settings:
        """The settings of both servers."""
        return self.servers.settings

    @property
    def cluster(self) -> Cluster:
        """The brokers."""
        return self.servers.cluster


@asynccontextmanager
async def connected(servers: Servers) -> AsyncIterator[Connected]:
    """Connect to both servers for as long as the context lasts. Raises `CannotConnect` and `CLUSTER_ERRORS`."""
    async with inspection(servers.settings.database) as database:
        yield await _connected(servers, database)


@asynccontextmanager
async def connected_channels(servers: Servers) -> AsyncIterator[list[Connected]]:
    """The same for each channel that the settings serve, over one session of the database."""
    async with inspection(servers.settings.database) as database:
        yield [await _connected(servers.of(channel), database) for channel in servers.settings.by_commands.values()]


async def _connected(servers: Servers, database: Inspection) -> Connected:
    topics = await topics_of(servers.settings, servers.cluster)
    return Connected(servers, database, LogReader(servers.cluster), topics)
