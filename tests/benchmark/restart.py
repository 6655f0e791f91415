"""Restart: SIGKILL under load, a new process right away, and how long until it shows its first new result."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.benchmark.place import Place
from tests.benchmark.reader import check_exactly_once
from tests.benchmark.throughput import WORKER

SESSION_SECONDS = 2


@dataclass
class GroupWatch:
    """Notes when members were first and last seen in a consumer group, by the monotonic clock."""

    place: Place
    first_seen: dict[str, float] = field(default_factory=dict)
    last_seen: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="group", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)

    def _watch(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.place.servers.bootstrap_servers})
        group = self.place.settings.group_id
        while not self._stopping.wait(0.01):
            with suppress(KafkaException, TimeoutError):  # the coordinator comes up with the first group
                described = admin.describe_consumer_groups([group], request_timeout=2)[group].result(3)
                self._note([member.member_id for member in described.members])

    def _note(self, members: list[str]) -> None:
        now = time.monotonic()
        for member in members:
            self.first_seen.setdefault(member, now)
            self.last_seen[member] = now


@dataclass(frozen=True)
class Restart:
    """Seconds from SIGKILL to the first new result without the group's wait, and of this, until the process joined."""

    total: float
    until_joined: float


def restart(place: Place, count: int) -> Restart:
    """SIGKILL under load and a new process at once; exactly one result a command all the same.

    The broker lets go of a dead member after the session timeout. That wait is what is taken off: from the moment
    that the new process has joined until the dead member is gone, both as seen in the group's description.
    """
    place.environment["PASSPORT_KAFKA_SESSION_TIMEOUT_SECONDS"] = str(SESSION_SECONDS)
    victim = place.start(*WORKER.module)
    with place.reader() as reader, GroupWatch(place) as watch:
        place.warm_up(reader)
        gate = place.gate()
        gate.fill(place.stream(count))
        gate.open()
        place.wait(reader, "before the kill", place.sent - count * 2 // 3)
        old = set(watch.last_seen)
        assert old, "the group's description does not show the worker"
        victim.kill()
        killed_at = time.monotonic()
        victim.wait()
        place.processes.remove(victim)
        place.start(*WORKER.module)
        place.wait(reader, "after the kill")
        place.stop()
        check_exactly_once(reader.arrivals, place.sent)
    gone_at = max(watch.last_seen[member] for member in old)
    joined_at = min(at for member, at in watch.first_seen.items() if member not in old)
    first_at = next(one.at for one in reader.arrivals if one.at > max(gone_at, joined_at))
    return Restart(first_at - killed_at - max(0.0, gone_at - joined_at), joined_at - killed_at)
