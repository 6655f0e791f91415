"""PostgreSQL over the network of the model: the store in memory, behind locks that one transaction at a time holds."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, KeysView, ValuesView
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from tests.memory_store import MemoryStore, MemoryTransaction
from tests.model.network import Network, Waiting
from worker.store.port import LaneName, NewerOwner, Registered, StoreUnavailable

if TYPE_CHECKING:
    from tests.model.process import WorkerProcess

T = TypeVar("T")

# idle_in_transaction_session_timeout, and how soon the server notices that a connection is gone.
IDLE_SECONDS = 2.0

WAITS_FOR_LOCKS = {"register", "list_only", "start_lane", "mark_emitted"}


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that awaits nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it awaits something")


class Database:
    """The server. It has the methods of the port, and they happen at one moment."""

    def __init__(self, memory: MemoryStore, network: Network) -> None:
        self._memory, self.network = memory, network
        self.open: OpenTransaction | None = None

    def begin(self, *asked: Any) -> "OpenTransaction":
        """BEGIN, the locks of lanes, companies and passports, and what is read under them."""
        self._wait_for_locks()
        self.open = opened = OpenTransaction(self, self._memory.transaction(*asked))
        self.network.later(IDLE_SECONDS, opened.roll_back)
        return opened

    def __getattr__(self, name: str) -> Callable[..., object]:
        """Each other method of the port is a transaction of its own."""

        def call(*args: object, **named: object) -> object:
            if name in WAITS_FOR_LOCKS:
                self._wait_for_locks()
            return at_once(getattr(self._memory, name)(*args, **named))

        call.__name__ = name
        return call

    def _wait_for_locks(self) -> None:
        if self.open is not None:
            raise Waiting


class OpenTransaction:
    """A transaction that has begun, and holds its locks."""

    def __init__(self, database: Database, context: AbstractAsyncContextManager[MemoryTransaction]) -> None:
        self._database, self._context = database, context
        self.entered = at_once(context.__aenter__())

    def __repr__(self) -> str:
        return "its locks"

    def commit(self) -> None:
        """COMMIT."""
        if self._database.open is not self:
            raise StoreUnavailable("the server has ended this session")
        try:
            at_once(self._context.__aexit__(None, None, None))
        finally:
            self.roll_back()

    def roll_back(self) -> None:
        """Release the locks: ROLLBACK, or the end of the connection."""
        if self._database.open is self:
            self._database.open = None
            self._database.network.wake()


class _Sorted(frozenset[str]):
    """A set whose order does not depend on the hashes of strings, which differ from run to run."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__()))


class RemoteStore:
    """The store of a worker, `worker.store.port.Store`: each method is a request to the server."""

    incarnation = 0

    def __init__(self, process: "WorkerProcess", database: Database) -> None:
        self._process, self._database = process, database

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A method of the port."""
        call = getattr(self._database, name)

        async def ask(*args: object, **named: object) -> Any:
            # A view may change while the request is under way.
            sent = [[*arg] if isinstance(arg, KeysView | ValuesView) else arg for arg in args]
            return await self._process.ask(None, call, *sent, gone=StoreUnavailable, **named)

        return ask

    async def register(self, *args: Any, **named: Any) -> dict[LaneName, Registered | NewerOwner]:
        """See the port. The worker fences the producers in the order of the set."""
        answers = await self.__getattr__("register")(*args, **named)
        return {
            name: replace(answer, producers=_Sorted(answer.producers)) if isinstance(answer, Registered) else answer
            for name, answer in answers.items()
        }

    @asynccontextmanager
    async def transaction(self, *asked: Any) -> AsyncIterator[MemoryTransaction]:
        """See the port. Facts are read and effects handed over with BEGIN and COMMIT."""
        opened = await self._process.ask(None, self._database.begin, *asked, gone=StoreUnavailable)
        try:
            yield opened.entered
        except BaseException:
            opened.roll_back()
            raise
        await self._process.ask(None, opened.commit, gone=StoreUnavailable)
