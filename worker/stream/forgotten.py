"""Partitions for which Kafka has no committed offset: the results themselves say how far they were published.

Kafka forgets the offsets of a group without members after `offsets.retention.minutes`. An operator may delete them.
The lower bound that Postgres keeps is not enough: it may lag behind, and Postgres may have been restored meanwhile.
"""

import asyncio
from collections.abc import Collection, Mapping

import structlog
from aiokafka.errors import TopicAuthorizationFailedError

from worker.stream.background import StrayCancellation
from worker.stream.dependencies import LaneDependencies
from worker.stream.group_view import appended_at
from worker.stream.probe import Probe
from worker.stream.published import published_ends

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class Forgotten:
    """Reads results in the background. `news` is set when it has read them."""

    def __init__(self, shared: LaneDependencies, news: asyncio.Event) -> None:
        self._shared, self._news = shared, news
        self._ends: dict[int, int | None] = {}
        self._reading: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Nothing goes on in the background."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def forget(self, partition: int) -> None:
        """Read its results anew: another worker may have published some until now."""
        self._ends.pop(partition, None)
        self.stop()

    def ends(self, partitions: Collection[int]) -> dict[int, int | None] | None:
        """One past the newest command of each partition that a visible result names, 0 where no result does.

        None for a partition whose results we may not read, and for all while some were not read yet.
        """
        if any(one not in self._ends for one in partitions):
            return None
        return {one: self._ends[one] for one in partitions}

    def read(self, starts: Mapping[int, int]) -> None:
        """Begin to read results of commands at these offsets and behind them, by partition."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(starts), name="results of partitions without an offset")

    async def _read(self, starts: Mapping[int, int]) -> None:
        while True:
            try:
                self._ends |= await read_ends(self._shared, starts)
                break
            except Exception as error:
                log.warning("results_cannot_be_read", error=f"{type(error).__name__}: {error}")
            except asyncio.CancelledError as error:
                if self._reading is not asyncio.current_task():
                    raise
                log.warning("results_cannot_be_read", error=f"{StrayCancellation.__name__}: {error}")
            await asyncio.sleep(RETRY_SECONDS)
        self._reading = None
        self._news.set()


async def read_ends(shared: LaneDependencies, starts: Mapping[int, int]) -> dict[int, int | None]:
    """See `Forgotten.ends`. A partition without a command at `starts` or behind it has no result of such a one.

    Raises `CLUSTER_ERRORS`, and `ResultsHidden`.
    """
    settings, cluster = shared.settings, shared.cluster
    bounds = await Probe(cluster).bounds(settings.topic_commands, list(starts))
    places = {at: max(start, bounds[at].first) for at, start in starts.items()}
    since = await appended_at(cluster, settings.topic_commands, places)
    ends: dict[int, int | None] = dict.fromkeys(starts, 0)
    try:
        ends |= await published_ends(settings, cluster, since)
    except TopicAuthorizationFailedError:
        ends |= dict.fromkeys(since, None)
    return ends


def reason_without_offset(applied: int) -> str:
    """Why a lane must not run whose offset Kafka has forgotten, where its results may not be read."""
    return (
        f"Kafka has no committed offset of the group, and A={applied} (applied in Postgres): the results tell how far "
        "they were published, and this worker may not read them. Allow Read on the result topics"
    )
