"""One run: commands and faults, all results awaited, everything compared."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from confluent_kafka import KafkaException

from tests.chaos.faults import FAULTS, deal
from tests.chaos.load import Mix, Publisher
from tests.chaos.scene import Scene, scene
from tests.chaos.watch import Watch
from tests.infrastructure.three_brokers import NODES
from tests.invariants import account_of, check_account
from tests.released.trees import UnknownVersion, tree_of
from tests.workbench import REPOSITORY
from worker.tools.demo.embedded import ServerMissing

STALL_SECONDS = 120.0
"""So long without what is waited for is a failure."""

BACKLOG_SECONDS = 15.0
"""After this time workers with small batches get the usual ones: they may not be able to do what is asked of them."""

_OVERLAPPING = 0.3
"""How many of the faults do not wait for the one before to be over."""


@dataclass(frozen=True)
class Plan:
    """`seed` chooses commands and faults, not the moments at which they meet. `module` is what runs as the worker.

    Kafka has so many `brokers`. With `released`, a folder or a revision, every other start of a worker is of that
    version.
    """

    commands: int
    faults: int
    seed: int
    partitions: int = 12
    channels: int = 1
    rate: float = 300.0
    session_seconds: float = 6.0
    kinds: tuple[str, ...] = tuple(FAULTS)
    module: str = "worker"
    released: str | None = None
    brokers: int = len(NODES)


@dataclass(frozen=True, order=True)
class Gap:
    """Seconds from the end of a fault until results flowed in all partitions, and a command's longest wait by then."""

    flow: float
    wait: float


@dataclass
class Outcome:
    """What a run came to: `problems` is empty where all is well. `folder` is kept where it is not."""

    folder: Path
    problems: list[str] = field(default_factory=list)
    gaps: dict[str, list[Gap]] = field(default_factory=dict)
    """By kinds of faults; such as overlapped have one together."""


class Stalled(Exception):
    """Results do not come; the text says where, and what the workers say."""


async def run(plan: Plan) -> Outcome:
    """Run it on servers of its own. Raises `ServerMissing` where one cannot be had, `UnknownVersion` for `released`."""
    outcome = Outcome(Path(tempfile.mkdtemp(prefix="passport-chaos-")))
    outcome.folder.chmod(0o755)  # PostgreSQL may run as another user
    servers = (outcome.folder, plan.partitions, plan.channels, plan.session_seconds, plan.module, plan.seed)
    try:
        trees = [REPOSITORY]
        if plan.released is not None:
            trees.append(tree_of(plan.released, outcome.folder / "released"))
        async with AsyncExitStack() as stack:
            found = await stack.enter_async_context(scene(*servers, trees, NODES[: plan.brokers]))
            await _Run(plan, found, outcome).play()
    except (ServerMissing, UnknownVersion, asyncio.CancelledError):
        shutil.rmtree(outcome.folder, ignore_errors=True)
        raise
    if not outcome.problems:
        shutil.rmtree(outcome.folder, ignore_errors=True)
    return outcome


class _Run:
    """A run on a scene."""

    def __init__(self, plan: Plan, scene: Scene, outcome: Outcome) -> None:
        self._plan, self._scene, self._outcome = plan, scene, outcome
        self._dice = Random(f"{plan.seed}-faults")
        self._began = time.monotonic()
        self._watch = Watch(scene.bench)
        mix = Mix(scene.bench, plan.seed)
        self._publisher = Publisher(scene.bench, mix, plan.rate, plan.seed)

    async def play(self) -> None:
        """From the first command to the comparison of everything."""
        problems = self._outcome.problems
        try:
            with self._publisher, self._watch:
                await self._faults()
                self._say("all faults are over")
                await self._enlarge_batches()
                await asyncio.to_thread(self._publisher.finish, self._plan.commands)
                await self._all_answered()
            for member in self._scene.everybody:
                await member.stop()
            await self._compare()
        except Exception as error:  # whatever it is, the logs are kept
            problems.append(f"{type(error).__name__}: {error}")
        problems += self._scene.problems()
        self._tell()

    # Faults

    async def _faults(self) -> None:
        await self._flow("start", time.time())
        share = self._plan.commands / max(1, self._plan.faults)
        running: dict[asyncio.Task[None], str] = {}
        for number, kind in enumerate(deal(self._dice, self._plan.faults, self._plan.kinds)):
            dice = Random(f"{self._plan.seed}-fault-{number}")
            self._publisher.goal = int((number + 1) * share)
            await self._published(int((number + dice.random()) * share))
            running[asyncio.create_task(self._fault(number, kind, dice))] = kind
            if dice.random() > _OVERLAPPING or number == self._plan.faults - 1:
                await asyncio.gather(*running)
                await self._flow(" + ".join(running.values()), time.time())
                running.clear()

    async def _fault(self, number: int, kind: str, dice: Random) -> None:
        await FAULTS[kind][0](self._scene, dice, lambda text: self._say(f"#{number} {text}"))

    async def _published(self, count: int) -> None:
        """Until so many commands are on their way. Raises `TimeoutError`."""
        async with asyncio.timeout(STALL_SECONDS + count / self._plan.rate):
            while self._publisher.sent < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _flow(self, kinds: str, healed: float) -> None:
        """Until every partition has the answer to a command that came after `healed`. Raises `Stalled`."""
        for member in self._scene.members:
            member.start()
        is_relieved = False
        while behind := self._watch.behind(healed):
            if time.time() - healed > BACKLOG_SECONDS and not is_relieved:
                is_relieved = True
                await self._enlarge_batches()
            if time.time() - healed > STALL_SECONDS:
                raise Stalled(await self._stall(f"no answers after {kinds} in partitions {behind}"))
            await asyncio.sleep(0.02)
            self._scene.problems()  # starts anew who has ended by himself
        gap = Gap(time.time() - healed, self._watch.longest_wait())
        self._outcome.gaps.setdefault(kinds, []).append(gap)
        self._say(f"   results flow {gap.flow:.1f} s after the end of {kinds}; a command waited {gap.wait:.1f} s")

    async def _enlarge_batches(self) -> None:
        for member in self._scene.members:
            if member.small_batches is not None:
                self._say(f"{member.name} is started anew, without its batches of {member.small_batches} records")
                await member.enlarge_batches()

    async def _all_answered(self) -> None:
        before, moved = -1, time.monotonic()
        while True:
            lag = await asyncio.to_thread(self._watch.lag)
            if not lag:
                return
            if (left := sum(lag.values())) != before:
                before, moved = left, time.monotonic()
            if time.monotonic() - moved > STALL_SECONDS:
                raise Stalled(await self._stall("results stand still"))
            await asyncio.sleep(0.5)

    async def _stall(self, what: str) -> str:
        try:
            lag = str(await asyncio.to_thread(self._watch.lag))
        except KafkaException as error:
            lag = f"unknown: {error}"
        said = [f"{one.name}: {await asyncio.to_thread(one.not_ready)}" for one in self._scene.everybody]
        return "\n".join((f"{what}; offsets not answered, by partition: {lag}; /readyz says", *said))

    # Comparison

    async def _compare(self) -> None:
        self._say("comparing")
        bench, began = self._scene.bench, time.monotonic()
        channels = bench.settings.by_commands.values()
        account = await account_of(bench, bench.stream([topic for own in channels for topic in own.result_topics]))
        by_label = ", ".join(f"{count:,} {label}" for label, count in account.results.most_common())
        self._say(f"{len(account.asked):,} commands: {by_label}")
        self._say(f"{len(account.lost)} lost, {len(account.doubled)} doubled, {len(account.disordered)} out of order")
        await check_account(bench, account)
        self._say(f"compared with the ledger in {time.monotonic() - began:.0f} s")

    # Telling

    def _say(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:8.1f} s  {text}"
        print(line, flush=True)
        with (self._outcome.folder / "chaos.log").open("a") as log:
            log.write(f"{line}\n")

    def _tell(self) -> None:
        starts = sum((member.starts for member in self._scene.everybody), Counter[Path]())
        self._say(f"starts of workers: {', '.join(f'{count} from {tree}' for tree, count in starts.items())}")
        self._say("longest until results flow in all partitions after a fault, and longest wait of a command, by kind:")
        for kinds, gaps in sorted(self._outcome.gaps.items(), key=lambda item: max(item[1]), reverse=True):
            wait = max(gap.wait for gap in gaps)
            self._say(f"   {max(gaps).flow:6.1f} s {wait:6.1f} s  {len(gaps):3} times  {kinds}")
        if self._outcome.problems:
            self._say(f"FAILED with seed {self._plan.seed}; logs and data are in {self._outcome.folder}")
            for problem in self._outcome.problems:
                self._say(f"   {problem}")
