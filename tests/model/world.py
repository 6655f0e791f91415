"""The scheduler: from a seed, it picks what happens next, faults included, until all is quiet. Then it checks."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.model.kafka import Kafka, State
from tests.model.postgres import Postgres
from tests.model.process import GroupMembership, Process
from tests.model.steps import Broken, Request, Task, Unanswered
from tests.model.variant import Variant

LANES = range(3)
WORKERS = 3
COMMANDS = 6
"""In each lane, all there from the beginning."""

MOST_EVENTS = 5000


@dataclass(slots=True, eq=False)
class Message:
    """A request under way, which does not arrive before event number `due`."""

    process: Process
    sender: Task
    request: Request
    due: int


class World:
    """Three workers, the group, Kafka and Postgres, and what befalls them."""

    def __init__(self, seed: int, variant: Variant, tell: Callable[[str], None] | None = None) -> None:
        """`tell` is given the story, a line an event."""
        self.dice = random.Random(seed)
        self.variant, self.commands = variant, COMMANDS
        self.kafka = Kafka(LANES, variant, lambda: self.dice.random() < 0.05)
        self.postgres = Postgres(LANES, variant)
        self.events = 0
        self._tell = tell
        self._network: list[Message] = []
        self._workers = [Process(self, f"w{number}") for number in range(WORKERS)]
        self._crashes = 0
        self._membership = GroupMembership()
        # Some worlds are rougher than others, each in its own way.
        self._trouble = self.dice.choice([0.02, 0.05, 0.1])
        self._loss = self.dice.choice([0.0, 0.03, 0.12])
        self._unlucky = self.dice.choice(["end_txn", "txn_offset_commit", "register", "nothing"])
        self._doubt, self._slowness = self.dice.choice([(0.0, 0.0), (0.3, 0.3), (0.6, 0.8)])
        self._pace_of_markers = self.dice.choice([0.1, 0.3, 1.0])

    def run(self) -> None:
        """One schedule. Raises `Broken`."""
        faults = (
            *(self._rebalance, self._reset, self._crash, self._forget, self._time_out, self._change_leader),
            *3 * [self._freeze],
        )
        self._rebalance()
        calm_from = self.dice.randint(50, 250)
        while self.events < calm_from:
            self.events += 1
            if self.dice.random() < self._trouble:
                self.dice.choice(faults)()
            self._happen()
        self._calm_down()
        while self._happen() or self._network:
            self.events += 1
            if self.events % 100 == 0:
                self._time_out()
            if self.events > MOST_EVENTS:
                raise Broken("stuck: some lanes never get on")
        self._check()

    def send(self, process: Process, sender: Task, request: Request) -> None:
        """Into the network. Any broker may be asked which topic that is, and it may be one that hangs for a while."""
        hangs = request.call == self.kafka.identify and self.dice.random() < self._slowness
        due = self.events + self.dice.randint(30, 150) if hangs else self.events
        self._network.append(Message(process, sender, request, due))

    def heartbeat(self, process: Process, assignment: GroupMembership) -> bool:
        """Whether the group has this member, in this generation."""
        return assignment is self._membership and process in assignment.lanes

    def is_in_doubt(self) -> bool:
        """Whether the topic may be another one than it was: a connection broke, or it is time to look."""
        return self.dice.random() < self._doubt

    # What happens

    def _happen(self) -> bool:
        """One event of all that are possible now. False when there is none."""
        now, kafka = self.events, self.kafka
        arriving = [message for message in self._network if message.due <= now and message.process.frozen_until <= now]
        others: list[Callable[[], None]] = []
        for worker in self._workers:
            if worker.frozen_until <= now:
                if worker.told is not self._membership:
                    others.append(partial(self._hear, worker))
                if worker.serves is not worker.told and (not worker.tasks or self.dice.random() < 0.05):
                    others.append(worker.begin)
        if (kafka.markers or kafka.settling) and self.dice.random() < self._pace_of_markers:
            others += (partial(self._mark, *marker) for marker in kafka.markers if marker[1] not in kafka.leaderless)
            if kafka.settling:
                others.append(self._settle_offsets)
        pick = int(self.dice.random() * (len(arriving) + len(others)))
        if pick < len(arriving):
            self._deliver(arriving[pick])
        elif others:
            others[pick - len(arriving)]()
        return bool(arriving or others)

    def _deliver(self, message: Message) -> None:
        """A request arrives and is answered; or it is lost, or late, or its answer is lost."""
        self._network.remove(message)
        process, sender, request = message.process, message.sender, message.request
        waited_for = sender in process.tasks and sender.waits_for is request
        loss = self._loss * (4 if request.call.__name__ == self._unlucky else 1)
        fate = "arrives"
        if waited_for and self.dice.random() < loss:
            fate = self.dice.choice(["is lost", "is late", "is late", "loses its answer"])
        answer = request.call(*request.args) if fate in ("arrives", "loses its answer") else None
        if self._tell is not None:
            who = process if waited_for else f"{process}, who does not wait for it any more"
            self._say(f"{who}: {request.call.__name__}{request.args} {fate}: {answer!r}")
        if fate == "is late":
            message.due = self.events + self.dice.randint(1, self.dice.choice([10, 30, 80]))
            self._network.append(message)
        if waited_for:
            process.go_on(sender, answer, None if fate == "arrives" else Unanswered())

    def _hear(self, worker: Process) -> None:
        self._say(f"{worker} hears of {self._membership}")
        worker.hear(self._membership)

    def _mark(self, id: str, partition: int) -> None:
        self._say(f"kafka: marker of {id} in {partition}, {self.kafka.transactions[id].state.name}")
        self.kafka.write_marker(id, partition)

    def _settle_offsets(self) -> None:
        self._say(f"kafka: what is pending of {self.kafka.settling[0][0]} counts now, or never")
        self.kafka.settle_offsets()

    def _say(self, line: str) -> None:
        if self._tell is not None:
            self._tell(f"{self.events:4} {line}")

    # Faults

    def _rebalance(self, generation: int | None = None, without: Process | None = None) -> None:
        """Some members get all lanes, the others none. Each hears of it in its own time."""
        there = [worker for worker in self._workers if worker is not without]
        members, lanes = self.dice.sample(there, self.dice.randint(1, len(there))), list(LANES)
        self.dice.shuffle(lanes)
        shares = {member: lanes[number :: len(members)] for number, member in enumerate(members)}
        self._membership = GroupMembership(generation or self._membership.generation + 1, shares)
        self._say(f"group: {self._membership}")

    def _reset(self) -> None:
        """The group was deleted: generations count from 1 again."""
        self._rebalance(generation=1)

    def _crash(self) -> None:
        """Another process takes the worker's place. What it had sent may still arrive, now or much later, or not."""
        self._replace(self.dice.choice(self._workers))
        if self.dice.random() < 0.5:
            self._rebalance()

    def _replace(self, worker: Process) -> None:
        self._say(f"{worker} crashes")
        worker.tasks.clear()
        worker.frozen_until = 0
        for message in [message for message in self._network if message.process is worker]:
            message.due = self.events + self.dice.choice([0, 20, 80])
            if self.dice.random() < 0.3:
                self._network.remove(message)
        self._workers[self._workers.index(worker)] = Process(self, f"w{WORKERS + self._crashes}")
        self._crashes += 1

    def _forget(self) -> None:
        """All workers die, and their group is deleted with its offsets before others come."""
        for worker in list(self._workers):
            self._replace(worker)
        self._say("group: deleted, and its offsets with it")
        self.kafka.forget_offsets(pending=self.dice.random() < 0.5)
        self._reset()

    def _freeze(self) -> None:
        """For a while nothing happens of what a worker was about to do; the group may go on without it."""
        worker = self.dice.choice(self._workers)
        worker.frozen_until = self.events + self.dice.randint(5, 150)
        self._say(f"{worker} freezes until {worker.frozen_until}")
        if self.dice.random() < 0.7:
            self._rebalance(without=worker)

    def _time_out(self) -> None:
        """The coordinator ends a transaction that has been open for too long."""
        open_ids = [id for id, known in self.kafka.transactions.items() if known.state is State.ONGOING]
        if open_ids:
            id = self.dice.choice(open_ids)
            self._say(f"kafka: {id} times out")
            self.kafka.abort(id)

    def _change_leader(self) -> None:
        """A partition of results loses its leader, or has one again."""
        self.kafka.leaderless ^= {self.dice.choice(LANES)}
        self._say(f"kafka: without leader: {self.kafka.leaderless}")

    def _calm_down(self) -> None:
        """No faults from here on, but for what is late already."""
        self._say("all faults are over")
        self._loss, self._slowness, self._pace_of_markers = 0.0, 0.0, 1.0
        self.kafka.leaderless.clear()
        for worker in self._workers:
            worker.frozen_until = 0
        self._rebalance()

    # What must be true

    def _check(self) -> None:
        """One visible result a command, in the order of the commands, the one of the ledger; and E = A."""
        for lane in LANES:
            found = [result for batch in self.kafka.logs[lane].batches if batch.committed for result in batch.results]
            if [result.offset for result in found] != list(range(COMMANDS)):
                raise Broken(f"lost, or out of order: {found}")
            if found != [self.postgres.ledger[lane, offset] for offset in range(COMMANDS)]:
                raise Broken(f"not what the ledger says: {found}")
            e, a = self.kafka.committed[lane], self.postgres.rows[lane].applied
            if e not in (a, None):  # nobody commits the offset of a lane that has nothing more to answer
                raise Broken(f"lane {lane}: E={e}, A={a}")
