"""A world: workers, the group, Kafka and Postgres. Dice decide what befalls them until all is quiet."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.contract.world import CATALOGUE, GROWTH, HARD, OPEN, TOPIC, ask
from tests.memory_store import MemoryStore
from tests.model.database import Database, at_once
from tests.model.kafka import BROKERS, OFFSETS, Broken, Kafka, State
from tests.model.loop import Loop
from tests.model.network import Network, Waiting
from tests.model.process import SETTINGS, WorkerProcess, virtual_time
from tests.model.weather import weather_of
from worker.messages.envelope import Record
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.store.port import LaneName
from worker.stream.cluster.offset_fetch_v7 import Committed
from worker.tools.common.catalogue.facts import facts_of

WORKERS = 3
COMMANDS = 6
CALM_SECONDS = 300.0
FACTS = facts_of(CATALOGUE)


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """What a rebalance decides: who has which lanes, by the names of processes."""

    generation: int = 0
    lanes: dict[str, list[int]] = field(default_factory=dict)


class World:
    """Runs one schedule."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None, **weather: object) -> None:
        """`tell` is given the story, a line an event. `weather` is what the dice do not choose."""
        self.seed, self.dice = seed, random.Random(seed)
        dice = self.dice
        self.loop = Loop()  # type: ignore[abstract]
        self.weather = weather_of(dice, **weather)
        self.lanes = range(dice.choice([1, 2, 3]))
        self.network = Network(self.loop, dice, self.weather, self._strike, tell)
        self.kafka = Kafka(self.lanes, lambda: dice.random() < 0.05, self._write_markers_soon)
        if dice.random() < 0.7:
            # As a tool sets them, or else the group is new.
            self.kafka.committed = dict.fromkeys(self.lanes, Committed(0, ""))
        self.memory = MemoryStore(at_once(MemoryStore(FACTS).look_up([], 0)))
        self.database = Database(self.memory, self.network)
        self.halted: list[int] = []
        self.commands = {lane: self._commands(lane) for lane in self.lanes}
        # The last offset of a log may be a marker.
        self.ends = {lane: commands[-1].offset + dice.randint(1, 2) for lane, commands in self.commands.items()}
        self._published = dict.fromkeys(self.lanes, 0)
        self.nobody = self.membership = Membership()
        self._is_calm = self._is_quiet = False
        self._started = WORKERS
        self._workers = [WorkerProcess(self, f"w{number}") for number in range(WORKERS)]

    def run(self) -> None:
        """One schedule. Raises `Broken`."""
        with virtual_time(self.loop, self.seed):
            try:
                self._rebalance()
                self._plan()
                self._look()
                self.loop.run(lambda: self._is_quiet, self.loop.now + CALM_SECONDS)
                self._check()
            finally:
                self._end()

    def _commands(self, lane: int) -> list[Record]:
        """Commands of a lane, some of which ask for the same; markers of their producers may stand between them."""
        commands, offset = [], 0
        for _ in range(COMMANDS):
            tenant = self.dice.choice([OPEN, GROWTH, HARD])
            serial = f"{self.dice.randrange(8)}"
            number = 1 + [OPEN, GROWTH, HARD].index(tenant)
            key = self.dice.choice([None, f"key {serial}"])
            commands.append(ask(tenant, number, serial, key=key)._replace(partition=lane, offset=offset))
            offset += self.dice.choice([1, 1, 2])
        return commands

    # What servers answer, besides Kafka's transactions

    def fetch(self, lane: int, position: int) -> tuple[list[Record], int]:
        """Some commands that have been published, and the offset behind them and markers. Waits for more."""
        published = self.commands[lane][: self._published[lane]]
        commands = [command for command in published if command.offset >= position]
        if not commands and (len(published) < COMMANDS or position == self.ends[lane]):
            raise Waiting
        some = commands[: self.dice.randint(1, 3)]
        if some == commands and len(published) == COMMANDS and (not some or self.dice.random() < 0.5):
            return some, self.ends[lane]
        return some, some[-1].offset + 1

    def _publish(self, lane: int) -> None:
        self._published[lane] += 1
        self.network.wake()

    def is_member(self, generation: int, name: str) -> bool:
        """Whether the group has this member, in this generation."""
        return generation == self.membership.generation and name in self.membership.lanes

    # What happens

    def _write_markers_soon(self) -> None:
        self.network.later(self.weather.markers * self.dice.random(), self._write_marker)

    def _write_marker(self) -> None:
        """Write one of the markers of transactions that were decided, or settle offsets; and go on with others soon."""
        kafka = self.kafka
        markers = [
            (id, at)
            for id, at in kafka.markers
            if (at == OFFSETS or at.partition not in kafka.leaderless)
            and self.network.answers(at.partition % len(BROKERS))
        ]
        if kafka.settling and self.dice.random() < 0.1:
            kafka.settle_offsets()
        elif markers:
            id, partition = self.dice.choice(markers)
            self.network.tell(f"kafka: marker of {id} in {partition}, {kafka.transactions[id].state.name}")
            kafka.write_marker(id, partition)
        if kafka.markers or kafka.settling:
            self._write_markers_soon()

    def _plan(self) -> None:
        """Spread commands and faults over a while; then calm."""
        lasts, dice = self.weather.lasts, self.dice
        for lane in self.lanes:
            for _ in range(COMMANDS):
                self.network.later(lasts * dice.random(), self._publish, lane)
        for _ in range(self.weather.faults):
            self.network.later(lasts * dice.random(), getattr(self, f"_{dice.choice(self.weather.kinds)}"))
        self.network.later(lasts, self._calm_down)

    def _strike(self, request: str, worker: WorkerProcess) -> None:
        """Perhaps freeze or kill the sender of a request that has just arrived."""
        if request in self.weather.moments and worker in self._workers and self.dice.random() < self.weather.strikes:
            self.dice.choice([self._freeze, self._freeze, self._crash])(worker)

    def _rebalance(self, generation: int | None = None, without: WorkerProcess | None = None) -> None:
        """Some members get all lanes, the others none. Each hears of it in its own time."""
        there = [worker for worker in self._workers if worker is not without]
        members, lanes = self.dice.sample(there, self.dice.randint(1, len(there))), list(self.lanes)
        self.dice.shuffle(lanes)
        shares = {member.name: lanes[number :: len(members)] for number, member in enumerate(members)}
        self.membership = Membership(generation or self.membership.generation + 1, shares)
        self.network.tell(f"group: {self.membership}")
        for worker in self._workers:
            self.network.later(0.2 * self.dice.random(), lambda worker=worker: worker.hear())

    def _reset(self) -> None:
        """The group was deleted: generations count from 1 again."""
        self._rebalance(generation=1)

    def _crash(self, worker: WorkerProcess | None = None) -> None:
        """Another process takes the worker's place."""
        self._replace(worker or self.dice.choice(self._workers))
        if self.dice.random() < 0.5:
            self._rebalance()

    def _replace(self, worker: WorkerProcess) -> None:
        self.network.tell(f"{worker} crashes")
        worker.crash()
        self._workers[self._workers.index(worker)] = WorkerProcess(self, f"w{self._started}")
        self._started += 1

    def _forget(self) -> None:
        """All workers die, and their group is deleted with its offsets before others come."""
        for worker in list(self._workers):
            self._replace(worker)
        self.network.tell("group: deleted, and its offsets with it")
        self.kafka.forget_offsets(pending=self.dice.random() < 0.5)
        self._reset()

    def _freeze(self, worker: WorkerProcess | None = None) -> None:
        """For a while nothing happens of what a worker was about to do; the group may go on without it."""
        worker = worker or self.dice.choice(self._workers)
        worker.frozen_until = self.loop.now + self.weather.freeze * self.dice.random()
        self.network.tell(f"{worker} freezes until {worker.frozen_until - 1000:.3f}")
        if self.dice.random() < 0.7:
            self._rebalance(without=worker)

    def _time_out(self) -> None:
        """The coordinator ends a transaction that has been open for too long."""
        open_ids = [id for id, known in self.kafka.transactions.items() if known.state is State.ONGOING]
        if open_ids:
            id = self.dice.choice(open_ids)
            self.network.tell(f"kafka: {id} times out")
            self.kafka.abort(id)

    def _change_leader(self) -> None:
        """Partitions of results lose their leader, or have one again."""
        self.kafka.leaderless ^= {self.dice.choice(self.lanes)}
        self.network.tell(f"kafka: without leader: {self.kafka.leaderless}")

    def _hang(self) -> None:
        """A broker hangs for a while."""
        broker = self.dice.choice(BROKERS)
        self.network.silent_until[broker] = self.loop.now + 4.0 * self.dice.random()
        self.network.tell(f"kafka: broker {broker} hangs until {self.network.silent_until[broker] - 1000:.3f}")

    def _calm_down(self) -> None:
        """No faults from here on, but for what is late already."""
        self.network.tell("all faults are over")
        self.weather.loss, self.weather.markers, self.weather.moments = 0.0, 0.02, ()
        self.kafka.leaderless.clear()
        self.network.silent_until.clear()
        self._rebalance()
        self._is_calm = True
        self._go_on_timing_out()

    def _go_on_timing_out(self) -> None:
        self._time_out()
        self.network.later(5.0, self._go_on_timing_out)

    # What must be true

    def _look(self) -> None:
        """Note now and then whether all is done."""
        kafka, network = self.kafka, self.network
        self._is_quiet = bool(self.halted) or (
            self._is_calm
            and not (kafka.markers or kafka.settling or network.is_something_late)
            and len(kafka.visible) == len(self.lanes) * COMMANDS
            and all(self._has_arrived(lane) for lane in self.lanes)
        )
        network.later(0.3, self._look)

    def _has_arrived(self, lane: int) -> bool:
        """Whether A and E are at the end of the log. Nobody commits E of a lane that has nothing more to answer."""
        position, committed = self._row(lane).position, self.kafka.committed[lane]
        is_applied = position is not None and position.applied == self.ends[lane]
        return is_applied and (committed is None or committed.offset == self.ends[lane])

    def _row(self, lane: int) -> Any:
        return self.memory._lanes[LaneName(SETTINGS.group_id, TOPIC, lane)]

    def _check(self) -> None:
        if self.halted:
            raise Broken(f"halted: {self.halted}")
        self.kafka.check_order()
        for lane, commands in self.commands.items():
            ledger: dict[int, Answer] = self._row(lane).ledger
            if [*ledger] != [command.offset for command in commands]:
                raise Broken(f"lost: the ledger of lane {lane} has {[*ledger]}")
            for offset, answer in ledger.items():
                event = self.kafka.visible.get((lane, offset))
                if event is None:
                    raise Broken(f"lost: command {lane}/{offset} has no result")
                if event != event_of(answer, TOPIC, lane):
                    raise Broken(f"not what the ledger says: {event}")
        if not self._is_quiet:
            raise Broken(f"stuck: E={self.kafka.committed}, A={[self._row(lane).position for lane in self.lanes]}")
        self._check_rules()

    def _check_rules(self) -> None:
        """Quotas, unique serial numbers, and one created event a passport."""
        passports = self.memory.passports
        owned = Counter(created.company_id for created in passports)
        if owned[HARD.company_id] > 2 or owned[GROWTH.company_id] > 3:
            raise Broken(f"quota: {owned}")
        if len({(created.gtin, created.serial) for created in passports}) < len(passports):
            raise Broken(f"a serial number twice: {passports}")
        answers = [answer for lane in self.lanes for answer in self._row(lane).ledger.values()]
        published = [answer.passport_id for answer in answers if answer.kind is Kind.CREATED and not answer.replayed]
        if sorted(published, key=str) != sorted(created.passport_id for created in passports):
            raise Broken(f"created events of other passports: {published}")

    def _end(self) -> None:
        """Let all tasks of all processes end."""
        for worker in self._workers:
            worker.crash()
        self.loop.drop_timers(self.network.context)
        self.loop.run(lambda: False, self.loop.now + 30)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run(lambda: False, self.loop.now + 30)
