"""What acts in the model is a generator: it yields what it waits for, so that a scheduler decides when it goes on."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class Broken(Exception):
    """What must be true is not."""


class Doubt(Exception):
    """It is not known whether results became visible."""


class Unanswered(Exception):
    """The request was lost, or its answer was, or it will still arrive; its sender cannot tell which."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call of a server. It happens when the network delivers it, if it does."""

    call: Callable[..., object]
    args: tuple[object, ...]


@dataclass(slots=True, eq=False)
class Task:
    """A generator under way, and what it waits for; `error` is what it failed with."""

    steps: "Steps[None]"
    waits_for: "Request | Task | None" = None
    done: bool = False
    error: Doubt | None = None


Steps: TypeAlias = Generator[Request | Task | None, Any, T]
"""Yields a request, and gets its answer; a task, until it is done; or None, until there is news of the group."""


def ask(call: Callable[P, T], *args: P.args, **_: P.kwargs) -> Steps[T]:
    """The answer of a server. Raises `Unanswered`."""
    return cast(T, (yield Request(call, args)))
