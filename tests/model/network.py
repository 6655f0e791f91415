"""Requests of workers to servers: each arrives after a while, or is lost, or late, or its answer is lost."""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from tests.model.loop import Loop, Process
from tests.model.weather import Weather
from worker.store.port import LostLane, StoreUnavailable

# What servers answer with, besides results.
ERRORS = (KafkaError, LostLane, StoreUnavailable)

# A value in the story has at most so many characters.
SHORT = 160


class Waiting(Exception):
    """The request has to wait in the server: for a lock, or for records."""


@dataclass(slots=True, eq=False)
class Message:
    """A request under way; `gone` is what its sender sees where there is no answer."""

    process: Process
    answer: "asyncio.Future[Any]"
    gone: type[Exception]
    call: Callable[..., Any]
    args: tuple[Any, ...]
    named: dict[str, Any]
    broker: int | None
    loses_answer: bool = False
    delay: float = 0.0
    is_dropped: bool = False


def short(value: object) -> str:
    """A value in a line of the story."""
    text = repr(value).replace("passport-worker.dpp.passport.create.v1.", "").replace("dpp.passport.", "")
    return text if len(text) < SHORT else f"{text[:SHORT]}…"


class Network:
    """Its dice say what becomes of each request."""

    def __init__(
        self,
        loop: Loop,
        dice: random.Random,
        weather: Weather,
        arrived: Callable[[str, Any], None],
        tell: Callable[[str], None] | None,
    ) -> None:
        """`arrived` is called with the name and the sender of each request that has arrived."""
        self.loop, self._dice, self._weather, self._arrived, self._tell = loop, dice, weather, arrived, tell
        self.under_way: dict[Message, None] = {}
        # Requests that wait in servers.
        self.waiting: list[Message] = []
        self.silent_until: dict[int, float] = {}
        self.context = Context()

    def later(self, seconds: float, call: Callable[..., Any], *args: Any) -> None:
        """Let something happen that belongs to no process."""
        self.loop.call_later(seconds, call, *args, context=self.context)

    def send(
        self,
        process: Process,
        gone: type[Exception],
        broker: int | None,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        named: dict[str, Any],
    ) -> "asyncio.Future[Any]":
        """Send a request. Returns its answer."""
        dice, answer = self._dice, self.loop.create_future()
        message = Message(process, answer, gone, call, args, named, broker)
        seconds = self._weather.seconds * dice.random() ** 2
        if dice.random() < self._weather.loss * (8 if call.__name__ == self._weather.unlucky else 1):
            fate = dice.choice(["lost", "late", "late", "loses its answer"])
            if fate == "loses its answer":
                message.loses_answer = True
            else:
                self.later(seconds, self._fail, message, f"is {fate}")
                if fate == "lost":
                    return answer
                seconds += self._weather.lateness * dice.random()
        self.under_way[message] = None
        self.later(seconds, self._arrive, message)
        return answer

    def cut(self, process: Process) -> None:
        """A process has crashed: what it had sent may still arrive, now or much later, or not."""
        for message in self.under_way:
            if message.process is process:
                message.is_dropped = self._dice.random() < 0.3
                message.delay = self._dice.choice([0.0, 0.2, 2.0])

    def answers(self, broker: int) -> bool:
        """Whether a broker does not hang."""
        return self.silent_until.get(broker, 0.0) <= self.loop.now

    @property
    def is_something_late(self) -> bool:
        """Whether a request is under way that nobody waits for."""
        return any(message.answer.done() and message not in self.waiting for message in self.under_way)

    def wake(self) -> None:
        """Let requests go on that have waited in servers."""
        waiting, self.waiting = self.waiting, []
        for message in waiting:
            self.later(0, self._arrive, message)

    def _arrive(self, message: Message) -> None:
        silent = self.silent_until.get(message.broker, 0.0) if message.broker is not None else 0.0
        if (wait := max(message.delay, silent - self.loop.now)) > 0:
            message.delay = 0.0
            self.later(wait, self._arrive, message)
            return
        if message.is_dropped:
            del self.under_way[message]
            return
        try:
            result, error = message.call(*message.args, **message.named), None
        except Waiting:
            self.waiting.append(message)
            return
        except ERRORS as failure:
            result, error = None, failure
        del self.under_way[message]
        self._arrived(message.call.__name__, message.process)
        is_waited_for = not message.answer.done() and not message.loses_answer
        if self._tell is not None:
            self.say(message, f"-> {short(error or result)}", is_waited_for)
        if not is_waited_for and hasattr(result, "roll_back"):
            result.roll_back()  # the connection is gone
        if self._dice.random() < 0.3:
            self.later(self._weather.seconds * self._dice.random() ** 2, self._answer, message, result, error)
        else:
            self._answer(message, result, error)

    def _answer(self, message: Message, result: object, error: Exception | None) -> None:
        if message.loses_answer:
            error = message.gone("the answer was lost")
        if not message.answer.done():
            if error is None:
                message.answer.set_result(result)
            else:
                message.answer.set_exception(error)

    def _fail(self, message: Message, what: str) -> None:
        if self._tell is not None:
            self.say(message, what)
        if not message.answer.done():
            message.answer.set_exception(message.gone("no answer"))

    def say(self, message: Message, what: str, is_waited_for: bool = True) -> None:
        """Tell the story."""
        nobody = "" if is_waited_for else " (nobody waits)"
        self.tell(f"{message.process}{nobody}: {message.call.__name__}{short(message.args)} {what}")

    def tell(self, line: str) -> None:
        """Tell the story, a line an event."""
        if self._tell is not None:
            self._tell(f"{self.loop.now - 1000:8.3f} {line}")
