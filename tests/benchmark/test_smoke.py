"""A smoke of the benchmark: it runs, its figures exist, every contender answers exactly once. No speed is judged."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmark.assignments import shared_at
from tests.benchmark.console import SHAPE, answer, load_pages
from tests.benchmark.figures import Figures
from tests.benchmark.growth import preload_passports
from tests.benchmark.latency import percentile
from tests.benchmark.place import fresh_place
from tests.benchmark.profile import OTHER, steps_of
from tests.benchmark.run import QUICK, Run, measure
from tests.benchmark.servers import Servers
from tests.infrastructure.choose import Infrastructure

_SIZE = replace(
    QUICK,
    commands=1_200,
    peer_commands=60,
    latency_seconds=1.5,
    lone_samples=3,
    memory_commands=1_200,
    memory_lanes=(4,),
    partitions=(1,),
    per_second=300,
    calm_per_second=200,
    steady_seconds=1.0,
    settle_seconds=0.2,
    many=4,
    warm_up_seconds=0.0,
)


@pytest.mark.long
@pytest.mark.real_kafka
@pytest.mark.timeout(280)
async def test_floors_peer_and_worker_answer_each_command_once_and_their_figures_are_there(
    servers: Infrastructure, tmp_path: Path
) -> None:
    """The peer needs FastStream, from the extra `bench`; the rest runs without."""
    sections = ["pipe", "postgres", "worker", "latency", "partitions", "cores", "rebalance", "memory"]
    sections += ["peer"] if find_spec("faststream") else []
    pids = (servers.kafka.pid,) if servers.kafka else ()
    place = Servers(servers.bootstrap_servers, servers.database_url, tmp_path, servers.kind, False, pids)
    run = Run(place, _SIZE)
    try:
        await asyncio.to_thread(measure, run, sections)
    finally:
        await asyncio.to_thread(run.close)
    expected = {"pipe floor", "Postgres floor", "worker", "latency at half load, p99", "lone command, p99"}
    for name in ("1 partition, worker", "1 partition, two workers"):
        expected |= {name, f"{name}, CPU", f"{name}, p50", f"{name}, p99"}
    expected |= {"4 partitions, calm, worker", "RSS, 4 lanes", "peak RSS, 4 lanes"}
    expected |= {f"one {does}, all partitions after" for does in ("joins", "leaves")}
    assert expected <= run.figures.samples.keys()
    assert all(len(samples) == 1 and samples[0] > 0 for samples in run.figures.samples.values())


@pytest.mark.long
@pytest.mark.real_kafka
@pytest.mark.timeout(120)
async def test_pages_of_the_console_are_measured(servers: Infrastructure, tmp_path: Path) -> None:
    """Each of them, also of a passport whose command is long gone."""
    figures, found = Figures(), Servers(servers.bootstrap_servers, servers.database_url, tmp_path, servers.kind, False)

    def pages() -> None:
        with fresh_place(found, SHAPE, 2) as place:
            asyncio.run(preload_passports(place.settings.database_url, 100, SHAPE))
            load_pages(place, answer(place, 200, 200), 3, figures, 100)

    await asyncio.to_thread(pages)
    assert len(figures.samples) == 29
    assert all(len(samples) == 1 and samples[0] > 0 for samples in figures.samples.values())


def test_percentiles_are_samples_that_so_many_do_not_exceed() -> None:
    """By the nearest rank."""
    samples = [float(one) for one in range(1, 101)]
    assert [percentile(samples, share) for share in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]
    assert percentile([7.0], 0.99) == 7.0


def test_a_sample_belongs_to_the_innermost_step_on_its_stack() -> None:
    """What is under no step is a callback or the event loop."""
    stacks = "\n".join(
        [
            "run (uvloop/__init__.py:96);record (worker/store/postgres.py:130);_execute (asyncpg/connection.py:2) 3",
            "run (uvloop/loop.py:96);decide_all (worker/batch/pipeline.py:9);describe (worker/messages/events.py:1) 2",
            "run (uvloop/__init__.py:96) 1",
            "\x0c\x01\x00 (\x1e;record (worker/store/postgres.py:130) 1",
        ]
    )
    assert steps_of(stacks) == {"write": 4, "encode": 2, OTHER: 1}


def test_partitions_are_shared_once_the_newest_generation_has_all_members_and_all_partitions() -> None:
    """A worker too many has none. Other lines, and one that is being written, say nothing."""

    def line(generation: int, partitions: list[int], second: int) -> str:
        timestamp = f"2026-11-26T12:00:{second:02d}.500000Z"
        return json.dumps(
            {"generation": generation, "partitions": partitions, "event": "assigned", "timestamp": timestamp}
        )

    alone = [line(1, [0, 1], 1), '{"event": "batch"}', "no JSON"]
    at_ms = datetime(2026, 11, 26, 12, 0, 1, 500_000, UTC).timestamp() * 1000
    assert shared_at([], 1, 2) is None
    assert shared_at(alone, 1, 2) == at_ms
    assert shared_at(alone, 2, 2) is None
    assert shared_at([*alone, line(2, [0], 2)], 2, 2) is None
    assert shared_at([*alone, line(2, [0], 2), line(2, [1], 4), line(2, [], 3)[:-9]], 2, 2) == at_ms + 3000
    assert shared_at([*alone, line(2, [0, 1], 2), line(2, [], 3)], 2, 2) == at_ms + 2000
