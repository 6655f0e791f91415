"""Group commit: who comes while a transaction runs goes into the next one, and nobody waits for another's failure."""

import asyncio
from collections.abc import Sequence

import pytest

from worker.group_commit import FailedInCompany, GroupCommit

MOST = 10


class _Database:
    """Notes its transactions, each of which takes as long as it is let; an item is a size, and negative ones fail."""

    def __init__(self) -> None:
        self.transactions: list[list[int]] = []
        self.cancelled = 0
        self.go_on = asyncio.Event()
        self.group = GroupCommit[int, str](self._transaction, abs, MOST)

    async def _transaction(self, items: Sequence[int]) -> list[str]:
        self.transactions.append(list(items))
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if min(items) < 0:
            raise KeyError("defect")
        return [f"did {item}" for item in items]

    async def begin(self, *items: int) -> list["asyncio.Task[str]"]:
        """One task an item, in this order, up to where they wait."""
        tasks = [asyncio.create_task(self.group.run(item)) for item in items]
        for _ in range(5):
            await asyncio.sleep(0)
        return tasks


async def test_who_comes_meanwhile_goes_together() -> None:
    """The first goes at once, the others in one transaction behind it, and each gets its own result."""
    database = _Database()
    tasks = [*await database.begin(1), *await database.begin(2, 3), *await database.begin(4)]
    assert database.transactions == [[1]]
    database.go_on.set()
    assert await asyncio.gather(*tasks) == ["did 1", "did 2", "did 3", "did 4"]
    assert database.transactions == [[1], [2, 3, 4]]


async def test_one_after_the_other_needs_no_company() -> None:
    """An item that comes when nothing runs does not wait for others."""
    database = _Database()
    database.go_on.set()
    for item in (1, 2, 3):
        assert await database.group.run(item) == f"did {item}"
    assert database.transactions == [[1], [2], [3]]


async def test_a_transaction_takes_so_much_and_always_one() -> None:
    """In the order in which they came; one that is too large by itself goes by itself."""
    database = _Database()
    tasks = [*await database.begin(1), *await database.begin(6, 4, 1, 25, 2)]
    database.go_on.set()
    await asyncio.gather(*tasks)
    assert database.transactions == [[1], [6, 4], [1], [25], [2]]


async def test_a_failure_in_company_is_nobodys() -> None:
    """All are told to try alone; by itself, an item gets its own error."""
    database = _Database()
    tasks = [*await database.begin(1), *await database.begin(2, -3, 4)]
    database.go_on.set()
    assert await tasks[0] == "did 1"
    for task in tasks[1:]:
        with pytest.raises(FailedInCompany, match="KeyError"):
            await task
    with pytest.raises(KeyError):
        await database.group.run(-3)
    assert await database.group.run(4) == "did 4"


async def test_one_that_leaves_takes_nobody_along() -> None:
    """The transaction goes on for the others, and one that left before it began is not in it."""
    database = _Database()
    tasks = [*await database.begin(1), *await database.begin(2, 3, 4)]
    tasks[1].cancel()
    database.go_on.set()
    assert [await task for task in (tasks[0], *tasks[2:])] == ["did 1", "did 3", "did 4"]
    assert database.transactions == [[1], [3, 4]]


async def test_one_that_leaves_a_running_transaction_does_not_end_it() -> None:
    """The others get their results."""
    database = _Database()
    tasks = [*await database.begin(1), *await database.begin(2, 3)]
    database.go_on.set()
    await tasks[0]
    database.go_on.clear()
    await asyncio.sleep(0)
    assert database.transactions[-1] == [2, 3]
    tasks[1].cancel()
    await asyncio.sleep(0)
    database.go_on.set()
    assert await tasks[2] == "did 3"
    assert database.cancelled == 0


async def test_the_last_that_leaves_ends_the_transaction() -> None:
    """Nobody would hear of it; whoever waits behind goes on when it has ended."""
    database = _Database()
    first, *others = [*await database.begin(1), *await database.begin(2)]
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    database.go_on.set()
    assert await others[0] == "did 2"
    assert database.cancelled == 1
    assert database.transactions == [[1], [2]]
