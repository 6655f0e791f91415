"""Group commit: while one transaction runs, whoever else comes waits for the next one, and goes into it together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class FailedInCompany(Exception):
    """A transaction of several items failed and was rolled back, whoever's fault it was; `__cause__` says of what.

    Try each by itself.
    """


@dataclass(frozen=True, slots=True, eq=False)
class _Member(Generic[Item, Result]):
    item: Item
    size: float
    result: "asyncio.Future[Result]"


class GroupCommit(Generic[Item, Result]):
    """Runs one `transaction` at a time, which gives one result an item, in order.

    `size` says how large an item is; a transaction takes at most `most` together, but always one item.
    """

    def __init__(
        self,
        transaction: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        size: Callable[[Item], float],
        most: float,
    ) -> None:
        self._transaction, self._size, self._most = transaction, size, most
        self._waiting: deque[_Member[Item, Result]] = deque()
        self._group: list[_Member[Item, Result]] = []
        self._running: asyncio.Future[Sequence[Result]] | None = None
        self._runner: asyncio.Task[None] | None = None

    async def run(self, item: Item) -> Result:
        """The result of the item's transaction, after its commit; raises what the transaction raised.

        Raises `FailedInCompany` instead where others took part. A transaction goes on while anybody waits for it: it
        is cancelled with the last one.
        """
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        member = _Member(item, self._size(item), result)
        self._waiting.append(member)
        if self._runner is None or self._runner.done():
            # In a context of its own: the span that is current for this item has nothing to do with what others bring.
            self._runner = asyncio.create_task(self._run(), name="group-commit", context=Context())
        try:
            return await result
        except asyncio.CancelledError:
            if self._running is not None and all(one.result.cancelled() for one in self._group):
                self._running.cancel()
            raise

    async def _run(self) -> None:
        while True:
            self._group = self._next_group()
            if not self._group:
                return
            self._running = asyncio.ensure_future(self._transaction([one.item for one in self._group]))
            await asyncio.wait([self._running])
            _settle(self._group, self._running)
            self._running = None

    def _next_group(self) -> list[_Member[Item, Result]]:
        group: list[_Member[Item, Result]] = []
        size = 0.0
        while self._waiting:
            member = self._waiting[0]
            size += member.size
            if group and size > self._most:
                break
            self._waiting.popleft()
            if not member.result.cancelled():
                group.append(member)
        return group


def _settle(group: Sequence[_Member[Item, Result]], done: "asyncio.Future[Sequence[Result]]") -> None:
    """Tell those that still wait."""
    waiting = [(place, one.result) for place, one in enumerate(group) if not one.result.done()]
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    for place, result in waiting:
        if error is None:
            result.set_result(done.result()[place])
        elif len(group) == 1:
            result.set_exception(error)
        else:
            failed = FailedInCompany(type(error).__name__)
            failed.__cause__ = error
            result.set_exception(failed)
