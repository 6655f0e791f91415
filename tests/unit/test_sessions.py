"""One session after the other, and who gets one of his own; the sessions are stand-ins that fail as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from aiokafka.structs import TopicPartition

from tests.workbench import until
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import LaneName, Owner, StoreUnavailable
from worker.stream import sessions as module
from worker.stream.inbox import Budget, Inbox
from worker.stream.lane import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Lane, LaneState
from worker.stream.producer import EmissionFailed
from worker.stream.session import LanesFailed
from worker.stream.sessions import Sessions

OUTAGE = StoreUnavailable("away")


def _lanes(count: int) -> list[Lane]:
    return [
        Lane(LaneName("group", "commands", at), Inbox(10, Budget(1024 * 1024)), Hooks())
        for at in reversed(range(count))
    ]


@dataclass
class _Emitter:
    """The producer of a session, as far as it is asked."""

    has_committed: bool
    is_open: bool
    is_gone: bool = False

    async def end_sending(self) -> None:
        pass

    async def close(self) -> None:
        self.is_gone = True


class _Session:
    """Fails as often as there are failures for its lanes; then it lives until it is closed."""

    made: list["_Session"]
    failures: Callable[[frozenset[int]], list[Exception]]
    """By partitions; what is left of them is shared by the sessions of the same lanes."""
    spent = True
    advances = False
    in_transaction = False
    hangs = False

    def __init__(self, owner: Owner, lanes: Sequence[Lane], shared: object, consumer: object) -> None:
        self.id = owner.producer
        self.emitter = _Emitter(has_committed=type(self).advances, is_open=type(self).in_transaction)
        self._lanes = lanes
        self.partitions = [lane.name.partition for lane in lanes]
        self.lives = 0
        self.is_alive = False
        self._closing = asyncio.Event()
        self.made.append(self)

    @property
    def is_spent(self) -> bool:
        return type(self).spent

    def close(self) -> None:
        self._closing.set()

    def wake(self) -> None:
        self.partitions = sorted(lane.name.partition for lane in self._lanes)

    async def run(self) -> None:
        self.lives += 1
        failures = type(self).failures(frozenset(self.partitions))
        if failures:
            raise failures.pop(0)
        self.is_alive = True
        await (asyncio.sleep(60) if type(self).hangs else self._closing.wait())

    @property
    def is_gone(self) -> bool:
        return self.emitter.is_gone


class _Stage:
    """Sessions of some lanes, with what befalls them."""

    def __init__(self, kind: type[_Session]) -> None:
        self.kind = kind
        self.failing: dict[frozenset[int], list[Exception]] = {}
        self.kind.failures = staticmethod(lambda partitions: self.failing.get(partitions, []))
        self.sessions: Sessions | None = None
        self.silent_coordinators = 0
        """Of so many ids that are asked about next."""
        self.ended_producers = set[str]()

    async def is_coordinated(self, transactional_id: str) -> bool:
        """As the cluster."""
        self.silent_coordinators -= 1
        return self.silent_coordinators < 0

    def fail(self, partitions: Sequence[int], *errors: Exception) -> None:
        """What happens to the sessions of just these lanes, one after the other."""
        self.failing[frozenset(partitions)] = [*errors]

    def begin(self, count: int) -> list[Lane]:
        """The lanes of an assignment, in any order."""
        lanes = _lanes(count)
        shared = SimpleNamespace(settings=Settings(), cluster=self, ended_producers=self.ended_producers)
        self.sessions = Sessions(lanes, 1, "member", cast(Any, shared), cast(Any, None))
        return lanes

    async def settled(self, *alive: Sequence[int]) -> None:
        """Wait until just these sets of lanes have a session that lives."""
        wanted = sorted(map(list, alive))
        await until(lambda: self._alive() == wanted, 10, f"{wanted}, not {self._alive()}")

    def _alive(self) -> list[list[int]]:
        return sorted(one.partitions for one in self.kind.made if one.is_alive and not one.is_gone)


@pytest_asyncio.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Stage]:
    """Nothing pauses for long on it."""

    class Kind(_Session):
        made: list[_Session] = []  # noqa: RUF012  # anew for each test

    monkeypatch.setattr(module, "Session", Kind)
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.01)
    stage = _Stage(Kind)
    yield stage
    if stage.sessions is not None:
        await stage.sessions.close()


def _emission(*suspects: int) -> EmissionFailed:
    return EmissionFailed("doubt", [TopicPartition("commands", partition) for partition in suspects])


async def test_all_lanes_have_one_session_in_order(stage: _Stage) -> None:
    """Until it is closed, when its producer is let go and its lanes are nobody's."""
    lanes = stage.begin(3)
    await stage.settled([0, 1, 2])
    assert stage.sessions is not None
    await stage.sessions.close()
    assert [(one.lives, one.is_gone) for one in stage.kind.made] == [(1, True)]
    assert {lane.state for lane in lanes} == {LaneState.CLOSED}
    assert all(task.done() and task.exception() is None for task in stage.sessions.tasks)


async def test_no_lanes_need_no_session(stage: _Stage) -> None:
    """A worker too many has none."""
    stage.begin(0)
    assert stage.sessions is not None
    assert stage.sessions.tasks == []
    await stage.sessions.close()


async def test_after_doubt_another_session_goes_on(stage: _Stage) -> None:
    """With an id of its own; the one in doubt is never used again."""
    stage.fail([0, 1], _emission(), OUTAGE)
    lanes = stage.begin(2)
    await stage.settled([0, 1])
    await until(lambda: [one.is_gone for one in stage.kind.made] == [True, True, False], 10, "producers are closed")
    assert [one.lives for one in stage.kind.made] == [1, 1, 1]
    assert [lane.reason for lane in lanes] == ["reopening: Postgres at localhost:5432/passports: away"] * 2


async def test_a_producer_has_ended_once_it_sends_nothing_more(stage: _Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fences trust that, so nobody is told before. The next session does not wait for it."""
    silent = asyncio.Event()

    async def end_sending(_: _Emitter) -> None:
        await silent.wait()

    monkeypatch.setattr(_Emitter, "end_sending", end_sending)
    stage.fail([0, 1], EmissionFailed("no answer"))
    stage.begin(2)
    await until(lambda: len(stage.kind.made) == 2 and stage.kind.made[1].is_alive, 10, "the next session works")
    assert stage.ended_producers == set()
    silent.set()
    await until(lambda: stage.ended_producers == {stage.kind.made[0].id}, 10, "the first one has ended")


async def test_before_its_first_transaction_a_session_lives_again(stage: _Stage) -> None:
    """Nothing of it is open, and each id that is used has to be fenced and remembered."""
    stage.kind.spent = False
    stage.fail([0], OUTAGE, OUTAGE, OUTAGE)
    stage.begin(1)
    await stage.settled([0])
    assert [one.lives for one in stage.kind.made] == [4]


# Who is opened apart


async def test_a_lane_whose_results_fail_is_opened_apart(stage: _Stage) -> None:
    """In a session of its own; the others go on in another one."""
    stage.fail([0, 1, 2, 3], _emission(2))
    stage.begin(4)
    await stage.settled([0, 1, 3], [2])


async def test_each_suspect_is_opened_by_itself(stage: _Stage) -> None:
    """One that hangs must not hold up the other; those that fail on wedge nobody."""
    stage.fail([0, 1, 2, 3], _emission(0, 2))
    stage.fail([2], *(_emission(2) for _ in range(8)))
    stage.begin(4)
    await stage.settled([0], [1, 3], [2])


async def test_a_lane_whose_work_the_database_refuses_is_opened_apart(stage: _Stage) -> None:
    """As one whose results fail, also where no transaction ever began."""
    stage.kind.spent = False
    stage.fail([0, 1, 2], LanesFailed("locks", [TopicPartition("commands", 1)]))
    stage.begin(3)
    await stage.settled([0, 2], [1])


async def test_where_all_are_suspects_nobody_is_opened_apart(stage: _Stage) -> None:
    """Nothing is known of anybody: all together try again, however often."""
    stage.fail([0, 1, 2], *(_emission(0, 1, 2) for _ in range(7)))
    stage.begin(3)
    await stage.settled([0, 1, 2])
    assert len(stage.kind.made) == 8


async def test_suspects_of_an_assignment_that_has_gone_are_nobody(stage: _Stage) -> None:
    """Those that the session does not have."""
    stage.fail([0, 1], _emission(7))
    stage.begin(2)
    await stage.settled([0, 1])


async def test_three_failures_without_a_suspect_halve(stage: _Stage) -> None:
    """And three more halve again, down to the one that it is; the halves that are well go on at once."""
    stage.fail(range(8), *(_emission() for _ in range(3)))
    stage.fail([0, 1, 2, 3], *(_emission() for _ in range(3)))
    stage.fail([0, 1], *(_emission() for _ in range(3)))
    stage.fail([1], *(_emission() for _ in range(10)))
    stage.begin(8)
    await stage.settled([0], [1], [2, 3], [4, 5, 6, 7])


async def test_two_failures_without_a_suspect_are_chance(stage: _Stage) -> None:
    """A broker that restarts fails everybody, and is back."""
    stage.fail([0, 1], _emission(), _emission())
    stage.begin(2)
    await stage.settled([0, 1])


async def test_failures_that_are_not_of_the_transaction_halve_nothing(stage: _Stage) -> None:
    """Servers that are away, for however long."""
    stage.fail(range(8), *(OUTAGE for _ in range(9)))
    stage.begin(8)
    await stage.settled([*range(8)])


async def test_an_outage_after_a_halving_halves_no_further(stage: _Stage) -> None:
    """Only a failed transaction halves.

    Seen to fail while the count of three was enough: 48 lanes had 48 sessions soon after Kafka went away.
    """
    stage.fail(range(8), *(_emission() for _ in range(3)))
    stage.fail([0, 1, 2, 3], *(OUTAGE for _ in range(9)))
    stage.begin(8)
    await stage.settled([0, 1, 2, 3], [4, 5, 6, 7])


async def test_results_in_between_begin_the_count_anew(stage: _Stage) -> None:
    """Three failures in a row are meant."""
    stage.kind.advances = True
    stage.fail([0, 1], *(_emission() for _ in range(9)))
    stage.begin(2)
    await stage.settled([0, 1])


# Who rejoins


@pytest.fixture
def rejoins_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes apart rejoin after a moment."""
    monkeypatch.setattr(module, "REJOIN_SECONDS", 0.1)


def _work(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.run(0)


@pytest.mark.usefixtures("rejoins_soon")
async def test_a_lane_that_works_well_apart_rejoins_the_others(stage: _Stage) -> None:
    """A broker that was silent for a moment must not cost a transaction a lane until the next rebalance."""
    stage.fail([0, 1, 2], _emission(1))
    lanes = stage.begin(3)
    await stage.settled([0, 2], [1])
    assert stage.sessions is not None
    _work(lanes)
    await stage.settled([0, 1, 2])
    assert len(stage.sessions.tasks) == 1
    assert [(lane.state, lane.reason) for lane in lanes if lane.name.partition == 1] == [
        (LaneState.OPENING, "reopening: having worked apart")
    ]
    await stage.sessions.close()
    assert {lane.state for lane in lanes} == {LaneState.CLOSED}


@pytest.mark.usefixtures("rejoins_soon")
async def test_a_lane_apart_that_does_not_work_stays_apart(stage: _Stage) -> None:
    """As while its leader is silent."""
    stage.fail([0, 1, 2], _emission(1))
    stage.begin(3)
    await stage.settled([0, 2], [1])
    await asyncio.sleep(0.3)
    await stage.settled([0, 2], [1])


# Pauses and the end


async def test_a_new_session_takes_an_id_whose_coordinator_answers(stage: _Stage) -> None:
    """Nothing of an id is open before it is used, so that another one will do."""
    stage.silent_coordinators = 2
    stage.begin(1)
    await stage.settled([0])
    assert stage.silent_coordinators == -1


def test_pauses_grow_while_sessions_fail_at_once_and_begin_anew_after_results() -> None:
    """Up to a bound; workers that failed at the same moment do not come back at the same moment."""
    share = module._Share([])
    pauses = []
    for _ in range(12):
        share.note_failure(OUTAGE, False)
        pauses.append(share.pause())
    assert pauses[0] < 2 * FIRST_PAUSE_SECONDS
    assert LONGEST_PAUSE_SECONDS <= pauses[-1] < 2 * LONGEST_PAUSE_SECONDS
    assert share.failures == 0
    share.note_failure(_emission(), True)
    assert (share.failures, share.pause() < 2 * FIRST_PAUSE_SECONDS) == (1, True)


async def test_a_pause_ends_when_the_assignment_does(stage: _Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance waits for nobody."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 60.0)
    stage.fail([0], OUTAGE)
    stage.begin(1)
    await until(lambda: stage.kind.made[:1] != [] and not stage.failing[frozenset([0])], 10, "it failed")
    assert stage.sessions is not None
    async with asyncio.timeout(2):
        await stage.sessions.close()
    assert len(stage.kind.made) == 1


async def test_what_does_not_end_in_time_is_cut_off_and_fenced_at_the_end(
    stage: _Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only sessions with a transaction that is open: those that failed before, and those that are cut off."""
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    fenced: list[str] = []

    async def fence(_cluster: object, _settings: object, producer: str) -> None:
        fenced.append(producer)

    monkeypatch.setattr(module, "fence", fence)
    stage.kind.hangs = stage.kind.in_transaction = True
    stage.fail([0], _emission())
    stage.begin(1)
    await stage.settled([0])
    assert stage.sessions is not None
    await stage.sessions.close()
    assert all(task.cancelled() for task in stage.sessions.tasks)
    assert [one.is_gone for one in stage.kind.made] == [True, True]
    assert len({one.id for one in stage.kind.made}) == 2
    await stage.sessions.fence_cut_off()
    assert fenced == [one.id for one in stage.kind.made]
