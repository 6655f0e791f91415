"""A worker: what it hears of the group, and the sessions that it has one after the other, or side by side."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.model.reader import Reader
from tests.model.session import Session
from tests.model.steps import Doubt, Request, Steps, Task

if TYPE_CHECKING:
    from tests.model.world import World


@dataclass(frozen=True, slots=True, eq=False)
class GroupMembership:
    """What a rebalance decides: who has which lanes."""

    generation: int = 0
    lanes: dict["Process", list[int]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"generation {self.generation} {self.lanes}"


class Process:
    """A worker from its start to its crash."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.told = self.serves = GroupMembership()
        self.frozen_until = 0
        self.tasks: list[Task] = []
        self.reader = Reader(self, [])
        self.ids: list[str] = []
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def new_id(self) -> str:
        """For a producer: never used before."""
        self.ids.append(f"{self}.{len(self.ids)}")
        return self.ids[-1]

    def hear(self, assignment: GroupMembership) -> None:
        """Sessions of the generation before come to their end."""
        self.told = assignment
        for task in [task for task in self.tasks if task.waits_for is None]:
            self.go_on(task)

    def begin(self) -> None:
        """With the lanes of the new generation. Who opens a lane fences what is still in flight for it."""
        self.serves = self.told
        lanes = self.told.lanes.get(self, [])
        self.reader = Reader(self, lanes)
        self.serve(lanes)

    def serve(self, lanes: Iterable[int]) -> None:
        """Sessions for these lanes, until they are revoked or lost."""
        self.start(self._sessions(list(lanes)))

    def _sessions(self, lanes: list[int]) -> Steps[None]:
        """After a doubt some lane may get a session of its own: perhaps its results were to blame."""
        assignment = self.told
        while lanes and self.told is assignment:
            session = Session(self, lanes)
            try:
                yield from session.live()
                return
            except Doubt:
                lanes = sorted(session.lanes)
                if len(lanes) > 1 and self.told is assignment and self.world.dice.random() < 0.2:
                    self.serve([lanes.pop(self.world.dice.randrange(len(lanes)))])

    # Tasks

    def start(self, steps: Steps[None]) -> Task:
        """Let something run on its own."""
        task = Task(steps)
        self.tasks.append(task)
        self.go_on(task)
        return task

    def go_on(self, task: Task, answer: object = None, error: Exception | None = None) -> None:
        """Until it waits again, or is done."""
        try:
            task.waits_for = task.steps.throw(error) if error else task.steps.send(answer)
        except StopIteration:
            self._finish(task, None)
        except Doubt as doubt:
            self._finish(task, doubt)
        else:
            if isinstance(task.waits_for, Request):
                self.world.send(self, task, task.waits_for)
            elif isinstance(task.waits_for, Task) and task.waits_for.done:
                self.go_on(task, error=task.waits_for.error)

    def _finish(self, task: Task, error: Doubt | None) -> None:
        task.done, task.error = True, error
        self.tasks.remove(task)
        for other in [other for other in self.tasks if other.waits_for is task]:
            self.go_on(other, error=error)
