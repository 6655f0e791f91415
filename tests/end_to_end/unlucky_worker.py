"""The real worker, whose dice always choose one broker, as long as it is among those that they may choose.

`TEST_UNLUCKY=<node>:<port>`; `TEST_UNLUCKY_CRASH` may name a crash point, as `TEST_CRASH` does. Which broker a client
asks next is a matter of chance: here it is certain. A client that gives up on a broker, and leaves it out, has its luck
back.
"""

import os
import random
import sys
from collections.abc import Callable
from typing import Any

from tests.end_to_end.crashing_worker import arm
from worker.tools.cli.main import main


def curse(node: int, port: int) -> None:
    """From now on `random` puts the broker first: by its number, by its metadata, or by its address."""

    def is_it(item: Any) -> bool:
        if isinstance(item, tuple) and len(item) > 1 and isinstance(item[0], str):  # (host, port, …)
            return bool(item[1] == port)
        return bool(getattr(item, "nodeId", item) == node)

    def are_brokers(items: list[Any]) -> bool:
        """Numbers of nodes are few and small; other numbers, such as partitions, are not drawn from by clients."""
        return len(items) <= _BROKERS + 1 and any(map(is_it, items))

    choice, shuffle, sample = random.choice, random.shuffle, random.sample

    def unlucky_choice(items: Any) -> Any:
        brokers = list(items)
        return next(filter(is_it, brokers)) if are_brokers(brokers) else choice(items)

    def unlucky_shuffle(items: list[Any]) -> None:
        shuffle(items)
        if are_brokers(items):
            items.sort(key=_last(is_it))

    def unlucky_sample(items: Any, k: int, **more: Any) -> list[Any]:
        brokers = list(items)
        if not are_brokers(brokers):
            return sample(items, k, **more)
        return sorted(sample(brokers, len(brokers)), key=_last(is_it))[:k]

    random.choice, random.shuffle, random.sample = unlucky_choice, unlucky_shuffle, unlucky_sample  # type: ignore[assignment]


_BROKERS = 3


def _last(is_it: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda item: not is_it(item)


if __name__ == "__main__":
    node, port = map(int, os.environ["TEST_UNLUCKY"].split(":"))
    curse(node, port)
    if order := os.environ.get("TEST_UNLUCKY_CRASH"):
        arm(order)
    main(sys.argv[1:])
