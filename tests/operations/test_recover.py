"""`passport-worker lanes recover`: an old copy of the database is made to hold what was published, and nothing else."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.invariants import check_invariants
from tests.operations.asking import Told, ask
from tests.operations.mixture import contents, copy_database, drop_database, limit_tenants, mixture
from tests.workbench import Workbench

pytestmark = pytest.mark.real_kafka

EXECUTE = ("--execute", "--reason", "restored a backup")


@dataclass
class Damaged:
    """A system whose database was put back: `old` is the copy, and `whole` the database that went on."""

    bench: Workbench
    old: str
    whole: str
    count: int

    async def recover(self, *arguments: str) -> Told:
        """The verb, on the old copy."""
        return await ask(self.bench, "lanes recover", *arguments, PASSPORT_DATABASE_URL=self.old)

    async def is_whole(self) -> bool:
        """Whether both databases hold the same."""
        return await contents(self.old) == await contents(self.whole)


@asynccontextmanager
async def damaged(
    bench: Workbench, logs: Path, seed: int, before: int = 150, after: int = 250
) -> AsyncIterator[Damaged]:
    """Copy the database at a moment of a run, while its worker is killed in the middle of its work; then go on."""
    chance = random.Random(seed)
    await limit_tenants(bench)
    worker = bench.start_worker(logs / "first.log")
    bench.publish(mixture(seed, before))
    await asyncio.sleep(1.0 + chance.random())
    worker.kill()
    worker.wait()
    old = await copy_database(bench.settings.database_url, "old")
    try:
        worker = bench.start_worker(logs / "second.log")
        bench.publish(mixture(seed, after, before))
        await bench.wait_for_results(before + after)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        yield Damaged(bench, old, bench.settings.database_url, before + after)
    finally:
        await asyncio.to_thread(bench.kill_workers)
        await drop_database(old)


@pytest.mark.parametrize("seed", range(3))
async def test_a_copy_holds_afterwards_what_the_whole_database_holds(
    bench: Workbench, tmp_path: Path, seed: int
) -> None:
    """Every table, but for days of rows and epochs; then the workers go on, and every command has one result."""
    async with damaged(bench, tmp_path, seed) as one:
        lost = await ask(bench, "lanes", PASSPORT_DATABASE_URL=one.old)
        assert (lost.code, {lane["state"] for lane in lost.report["lanes"]}) == (1, {"halted"})
        assert all("passport-worker lanes recover" in problem["text"] for problem in lost.report["problems"])
        before = await contents(one.old)
        planned = await one.recover()
        assert (planned.code, planned.report["executed"]) == (0, False)
        assert await contents(one.old) == before, "a dry run writes nothing"
        done = await one.recover(*EXECUTE)
        assert (done.code, done.report["executed"]) == (0, True)
        assert [lane | {"applied": 0} for lane in done.report["lanes"]] == [
            lane | {"applied": 0} for lane in planned.report["lanes"]
        ]
        assert await contents(one.old) == await contents(one.whole)
        bench.environment["PASSPORT_DATABASE_URL"] = one.old
        bench.settings = bench.settings.model_copy(update={"database_url": one.old})
        bench.start_worker(tmp_path / "third.log")
        bench.publish(mixture(seed, 100, one.count))
        await bench.wait_for_results(one.count + 100)
        await check_invariants(bench)
        again = await one.recover()
        assert {lane["commands"] for lane in again.report["lanes"]} == {0}
