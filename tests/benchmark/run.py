"""One run: what it measures, round after round, each figure once a round so that all of them see the same machine."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.benchmark.commands import Shape
from tests.benchmark.cost import FIELDS, cost
from tests.benchmark.fairness import FLOODED, calm_latencies
from tests.benchmark.figures import Figures, console
from tests.benchmark.flood import flood
from tests.benchmark.growth import preload_passports
from tests.benchmark.latency import latency_alone, latency_at, percentile, speed_and_latency
from tests.benchmark.memory import CpuWatch
from tests.benchmark.place import Place, drop_database, fresh_place, make_database
from tests.benchmark.postgres_floor import postgres_rate
from tests.benchmark.profile import profile
from tests.benchmark.rebalance import rebalance
from tests.benchmark.refused import ALTERED, CREATED, SIGNED
from tests.benchmark.restart import restart
from tests.benchmark.servers import Servers
from tests.benchmark.signed import ALGORITHMS
from tests.benchmark.throughput import (
    PEER,
    PIPE_FLOOR,
    TWO_WORKERS,
    WORKER,
    Contender,
    Speed,
    begin,
    speed,
)

BASE = "pipe floor"
MANY = 48
"""Partitions, where many of them are the point."""


@dataclass(frozen=True)
class Size:
    """How much a run measures. `grown` are numbers of preloaded passports, the largest last.

    `per_second` is the load that is the same for all of `partitions`, `calm_per_second` that of brokers and rebalances.
    """

    rounds: int
    commands: int
    peer_commands: int
    latency_seconds: float
    lone_samples: int
    memory_commands: int
    grown: tuple[int, ...]
    catalogue: int
    even_companies: int
    partitions: tuple[int, ...] = (1, 6, MANY, 200)
    per_second: float = 3_000
    calm_per_second: float = 1_000
    steady_seconds: float = 14.0
    settle_seconds: float = 3.0
    many: int = MANY
    channels: int = 20
    memory_lanes: tuple[int, ...] = (6, 12, MANY)
    warm_up_seconds: float = 60.0


FULL = Size(5, 30_000, 2_000, 40.0, 100, 100_000, (1_000_000, 10_000_000), 100_000, 10_000)
QUICK = Size(
    1,
    6_000,
    400,
    6.0,
    15,
    6_000,
    (20_000, 100_000),
    2_000,
    500,
    partitions=(1, 6, MANY),
    per_second=1_000,
    calm_per_second=500,
    steady_seconds=6.0,
    settle_seconds=1.0,
    channels=3,
    warm_up_seconds=10.0,
)


@dataclass
class Run:
    """Servers, sizes, what was measured so far, and the databases that are used again every round."""

    servers: Servers
    size: Size
    figures: Figures = field(default_factory=Figures)
    databases: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def place(
        self,
        shape: Shape = Shape(),  # noqa: B008
        partitions: int = 6,
        grown: int = 0,
        channels: str = "",
    ) -> Iterator[Place]:
        """A fresh place; on a database that is kept for the whole run where making it takes long."""
        keep = bool(grown) or shape.companies > 100
        url = self._kept_database(shape, grown) if keep else None
        with fresh_place(self.servers, shape, partitions, url, channels) as place:
            yield place

    def _kept_database(self, shape: Shape, grown: int) -> str:
        name = f"kept_{shape.companies}_{shape.products}_{grown}"
        if name not in self.databases:
            console.print(f"  making a database of {shape.companies:,} companies and {grown:,} passports …")
            url = asyncio.run(make_database(self.servers, name, shape))
            asyncio.run(preload_passports(url, grown, shape))
            self.databases[name] = url
        return self.databases[name]

    def close(self) -> None:
        """Drop the kept databases."""
        for name in self.databases:
            asyncio.run(drop_database(self.servers, name))

    def speed(self, name: str, contender: Contender, count: int, **place: object) -> Speed:
        """Measure and note a contender's speed."""
        with self.place(**place) as one:  # type: ignore[arg-type]  # as `place` takes them
            found = speed(one, contender, count)
        self.figures.add(name, found.per_second, "commands/s")
        return found


def _pipe(run: Run) -> None:
    found = run.speed(BASE, PIPE_FLOOR, run.size.commands)
    run.figures.add("pipe floor, CPU", found.cpu_microseconds, "µs/command")


def _postgres(run: Run) -> None:
    _postgres_floor(run, "Postgres floor", Shape())


def _postgres_floor(run: Run, name: str, shape: Shape) -> None:
    with run.place(shape) as place:
        run.figures.add(name, postgres_rate(place, run.size.commands), "commands/s")


def _worker(run: Run) -> None:
    found = run.speed("worker", WORKER, run.size.commands)
    run.figures.add("worker, CPU", found.cpu_microseconds, "µs/command")


def _signed(run: Run) -> None:
    """Each right after the same commands with API keys: neighbours of a shared machine come and go."""
    for algorithm in ALGORITHMS:
        for name, shape in ((f"before {algorithm}", Shape()), (f"signed, {algorithm}", Shape(algorithm=algorithm))):
            found = run.speed(name, WORKER, run.size.commands, shape=shape)
            run.figures.add(f"{name}, CPU", found.cpu_microseconds, "µs/command")


def _cost(run: Run) -> None:
    with run.place(Shape(fields=FIELDS)) as place:
        found = cost(place, run.size.commands)
    name = f"{FIELDS} fields"
    run.figures.add(f"{name}, worker", found.per_second, "commands/s")
    run.figures.add(f"{name}, worker's CPU", found.worker_microseconds, "µs/command")
    if found.postgres_microseconds is not None:
        run.figures.add(f"{name}, Postgres's CPU", found.postgres_microseconds, "µs/command")
    for what, value in (
        ("WAL", found.wal),
        ("passport", found.passports),
        ("key", found.keys),
        ("ledger", found.ledger),
    ):
        run.figures.add(f"{name}, {what}", value, "bytes/command")


def _two(run: Run) -> None:
    run.speed("two workers", TWO_WORKERS, run.size.commands)


def _peer(run: Run) -> None:
    run.speed("peer", PEER, run.size.peer_commands)


def _latency(run: Run) -> None:
    capacity = run.figures.latest("worker") or run.speed("worker", WORKER, run.size.commands).per_second
    with run.place() as place:
        found = latency_at(place, capacity / 2, run.size.latency_seconds)
    _percentiles(run, "latency at half load", found.milliseconds)
    run.figures.add("latency at half load, load late by", found.late, "s")
    with run.place() as place:
        _percentiles(run, "lone command", latency_alone(place, run.size.lone_samples))


def _partitions(run: Run) -> None:
    """Capacity, and latency at one load, by partitions: the work is the same, however many they are."""
    for partitions in run.size.partitions:
        for contender in (WORKER, TWO_WORKERS):
            name = f"{partitions} partition{'s' if partitions > 1 else ''}, {contender.name}"
            size = run.size
            with run.place(partitions=partitions) as place:
                backlog, steady = speed_and_latency(
                    place, contender, size.commands, size.per_second, size.steady_seconds
                )
            run.figures.add(name, backlog.per_second, "commands/s")
            run.figures.add(f"{name}, CPU", backlog.cpu_microseconds, "µs/command")
            _broker(run, f"{name}, broker CPU", backlog.broker_microseconds, "µs/command")
            _percentiles(run, name, steady.milliseconds, (50, 99))
            run.figures.add(f"{name}, late by", steady.late, "s")


def _broker(run: Run, name: str, value: float, unit: str) -> None:
    """Where it is a process of ours."""
    if run.servers.kafka_pids:
        run.figures.add(name, value, unit)


def _cores(run: Run) -> None:
    with run.place(partitions=run.size.many) as place:
        found = latency_at(place, run.size.calm_per_second, run.size.steady_seconds)
    name = f"{run.size.many} partitions, calm"
    _broker(run, f"{name}, broker", found.broker_cores, "cores")
    run.figures.add(f"{name}, worker", found.worker_cores, "cores")
    _percentiles(run, name, found.milliseconds, (50, 99))


def _rebalance(run: Run) -> None:
    with run.place(partitions=run.size.many) as place:
        changes = rebalance(place, run.size.calm_per_second, run.size.settle_seconds)
    for change, found in zip(("one joins", "one leaves"), changes, strict=True):
        run.figures.add(f"{change}, first result after", found.first, "s")
        run.figures.add(f"{change}, all partitions after", found.all_partitions, "s")
        run.figures.add(f"{change}, longest silence", found.silence, "s")


def _percentiles(run: Run, name: str, ordered: Sequence[float], shares: Sequence[int] = (50, 95, 99)) -> None:
    for share in shares:
        run.figures.add(f"{name}, p{share}", percentile(ordered, share / 100), "ms")


def _growth(run: Run) -> None:
    """The empty database is measured again right before: neighbours of a shared machine come and go."""
    *smaller, largest = run.size.grown
    run.speed("empty database", WORKER, run.size.commands)
    for passports in smaller:
        run.speed(f"{passports:,} passports", WORKER, run.size.commands, grown=passports)
    run.speed("most passports", WORKER, run.size.commands, grown=largest)
    catalogue = run.size.catalogue
    run.speed("large catalogue", WORKER, run.size.commands, shape=Shape(catalogue, 1))
    _postgres_floor(run, "Postgres floor, large catalogue", Shape(catalogue, 1))


def _memory(run: Run) -> None:
    for lanes in run.size.memory_lanes:
        with run.place(partitions=lanes) as place:
            found = speed(place, WORKER, run.size.memory_commands)
        run.figures.add(f"RSS, {lanes} lanes", found.megabytes, "MB")
        run.figures.add(f"peak RSS, {lanes} lanes", found.peak_megabytes, "MB")


def _hostile(run: Run) -> None:
    with run.place() as place:
        run.figures.add("RSS under hostile records, 6 lanes", flood(place), "MB")


def _contention(run: Run) -> None:
    run.speed("12 companies, mixed", WORKER, run.size.commands, shape=Shape(12))
    run.speed("12 companies, one partition each", WORKER, run.size.commands, shape=Shape(12, by_company=True))
    companies = run.size.even_companies
    run.speed("even companies", WORKER, run.size.commands, shape=Shape(companies))
    run.speed("hot company at 90 %", WORKER, run.size.commands, shape=Shape(companies, hot_share=0.9))
    run.speed("one company", WORKER, run.size.commands, shape=Shape(companies, hot_share=1.0))


def _channels(run: Run) -> None:
    """The same lanes as one channel, and as many channels of six partitions."""
    size, lanes = run.size, 6 * run.size.channels
    for name, partitions, channels in (("one channel", lanes, 1), (f"{size.channels} channels", 6, size.channels)):
        others = ",".join(f"c{number}" for number in range(1, channels))
        with run.place(partitions=partitions, channels=others) as place:
            place.loaded = place.settings.channel_names
            backlog, steady = speed_and_latency(place, WORKER, size.commands, size.per_second, size.steady_seconds)
        run.figures.add(f"{lanes} lanes of {name}", backlog.per_second, "commands/s")
        _percentiles(run, f"{lanes} lanes of {name}", steady.milliseconds, (50, 99))


def _fairness(run: Run) -> None:
    with run.place(channels=FLOODED) as place:
        found = calm_latencies(place, run.size.latency_seconds / 2)
    _percentiles(run, "calm channel", found.quiet)
    _percentiles(run, "calm channel beside backlog", found.backlog)
    _percentiles(run, "calm channel beside a flood", found.flooded)
    _percentiles(run, "calm channel beside a flood that no worker reads", found.unread)
    run.figures.add("flood beside it", found.flood_per_second, "records/s")


def _refused(run: Run) -> None:
    """What a command costs that is refused, beside one that creates a passport."""
    for name in (CREATED, SIGNED, *ALTERED):
        algorithm = "EdDSA" if name in (SIGNED, "bad signature") else None
        shape = Shape(altered=name if name in ALTERED else None, algorithm=algorithm)
        found = run.speed(name, WORKER, run.size.commands // (20 if "KiB" in name else 2), shape=shape)
        run.figures.add(f"{name}, CPU", found.cpu_microseconds, "µs/command")


def _restart(run: Run) -> None:
    with run.place() as place:
        found = restart(place, run.size.commands)
    run.figures.add("restart", found.total, "s")
    run.figures.add("restart, until it has joined the group", found.until_joined, "s")


def _profile(run: Run) -> None:
    with run.place() as place:
        profile(place, run.size.commands, run.servers.directory / "stacks.txt")


EVERY_ROUND: dict[str, Callable[[Run], None]] = {
    "pipe": _pipe,
    "worker": _worker,
    "signed": _signed,
    "cost": _cost,
    "peer": _peer,
    "postgres": _postgres,
    "two": _two,
    "latency": _latency,
    "partitions": _partitions,
    "cores": _cores,
    "rebalance": _rebalance,
    "growth": _growth,
    "memory": _memory,
    "hostile": _hostile,
    "contention": _contention,
    "channels": _channels,
    "fairness": _fairness,
    "refused": _refused,
    "restart": _restart,
}
AT_THE_END: dict[str, Callable[[Run], None]] = {"profile": _profile}
SECTIONS = (*EVERY_ROUND, *AT_THE_END)


def _warm_up(run: Run) -> None:
    """A broker that just started is a slow one, until it has compiled what it runs."""
    if not run.size.warm_up_seconds:
        return
    with run.place(partitions=run.size.many) as place, place.reader() as reader:
        begin(place, WORKER, reader)
        until = time.monotonic() + run.size.warm_up_seconds
        while time.monotonic() < until:
            broker = CpuWatch(run.servers.kafka_pids)
            place.publish(run.size.commands)
            place.wait(reader, "warming up")
            used = broker.seconds() / run.size.commands * 1e6
            console.print(f"  warming up: broker's CPU {used:,.0f} µs/command", highlight=False)


def measure(run: Run, only: Sequence[str]) -> None:
    """Measure what is named, interleaved: every figure once a round, on servers that are warm."""
    _warm_up(run)
    for number in range(run.size.rounds):
        console.rule(f"round {number + 1} of {run.size.rounds}")
        for name in EVERY_ROUND:
            if name in only:
                EVERY_ROUND[name](run)
    for name in AT_THE_END:
        if name in only:
            AT_THE_END[name](run)
