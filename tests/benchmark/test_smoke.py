"""A smoke of the benchmark: it runs, its figures exist, every contender answers exactly once. No speed is judged."""

import asyncio
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmark.latency import percentile
from tests.benchmark.profile import OTHER, steps_of
from tests.benchmark.run import QUICK, Run, measure
from tests.benchmark.servers import Servers
from tests.infrastructure.choose import Infrastructure

_SIZE = replace(QUICK, commands=1_200, peer_commands=60, latency_seconds=1.5, lone_samples=3)


@pytest.mark.real_kafka
@pytest.mark.timeout(280)
async def test_floors_peer_and_worker_answer_each_command_once_and_their_figures_are_there(
    servers: Infrastructure, tmp_path: Path
) -> None:
    """The peer needs FastStream, from the extra `bench`; the rest runs without."""
    sections = ["pipe", "postgres", "worker", "latency", *(["peer"] if find_spec("faststream") else [])]
    place = Servers(servers.bootstrap_servers, servers.database_url, tmp_path, servers.kind, has_statements=False)
    run = Run(place, _SIZE)
    try:
        await asyncio.to_thread(measure, run, sections)
    finally:
        await asyncio.to_thread(run.close)
    expected = {"pipe floor", "Postgres floor", "worker", "latency at half load, p99", "lone command, p99"}
    assert expected <= run.figures.samples.keys()
    assert all(len(samples) == 1 and samples[0] > 0 for samples in run.figures.samples.values())


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
            "run (uvloop/__init__.py:96);decide_all (worker/processing.py:9);describe (worker/messages/events.py:1) 2",
            "run (uvloop/__init__.py:96) 1",
            "\x0c\x01\x00 (\x1e;record (worker/store/postgres.py:130) 1",
        ]
    )
    assert steps_of(stacks) == {"write": 4, "encode": 2, OTHER: 1}
