"""Several watchers of one line."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from worker.observability.hooks import Hooks, Stopwatch

_WHILE = ("within", "step", "transaction", "sending")
"""Events that take a while: each watcher's begin in their order and end in the reverse one."""


def together(*watchers: Hooks) -> Hooks:
    """Hooks that tell each event to all who override it, in their order; who is alone with one is called directly."""
    hooks = Hooks()
    for name in (name for name in vars(Hooks) if not name.startswith("_")):
        told = [getattr(one, name) for one in watchers if getattr(type(one), name) is not getattr(Hooks, name)]
        if told:
            setattr(hooks, name, told[0] if len(told) == 1 else _of_several(name, told))
    return hooks


def _of_several(name: str, told: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    if name in _WHILE:
        return lambda *event: _nested([tell(*event) for tell in told])
    if name == "stopwatch":
        return lambda: _both([tell() for tell in told])

    def tell_all(*event: object) -> None:
        for tell in told:
            tell(*event)

    return tell_all


@contextmanager
def _nested(managers: Sequence[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for one in managers:
            stack.enter_context(one)
        yield


def _both(stopwatches: Sequence[Stopwatch]) -> Stopwatch:
    def lap(step: str) -> None:
        for one in stopwatches:
            one(step)

    return lap
