"""What a verb is about: a place, or a range of a topic's partitions, as somebody types it."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.places import Place
from worker.domain.timestamps import parse_time

Bound = int | datetime
"""An offset, or a time, which stands for the first record that was appended then or later."""

_PLACE = re.compile(r"(?:(?P<topic>[a-zA-Z0-9._-]{1,249})[/:])?(?P<partition>[0-9]{1,9})[/:](?P<offset>[0-9]{1,18})")


class BadSelection(ValueError):
    """What was typed names no place or range; the text says what was expected."""


def place_of(text: str, topic: str) -> Place:
    """`topic/partition/offset`, with `:` too, or `partition/offset` of `topic`. Raises `BadSelection`."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise BadSelection(f"expected topic/partition/offset or partition/offset, got {text!r}")
    return Place(match["topic"] or topic, int(match["partition"]), int(match["offset"]))


def bound_of(text: str) -> Bound:
    """An offset, or a time as RFC 3339 writes it. Raises `BadSelection`."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    try:
        return time_of(text)
    except BadSelection:
        raise BadSelection(f"expected an offset, or a time such as 2026-11-26T08:00:00Z, got {text!r}") from None


def time_of(text: str) -> datetime:
    """A time as RFC 3339 writes it, in UTC. Raises `BadSelection`."""
    if (time := parse_time(text)) is None:
        raise BadSelection(f"expected a time such as 2026-11-26T08:00:00Z, got {text!r}")
    return time


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of some partitions, or of all; `stop` is exclusive. None: from the start, up to the end."""

    partitions: tuple[int, ...] = ()
    start: Bound | None = None
    stop: Bound | None = None


FirstSince = Callable[[Sequence[int], datetime], Awaitable[Mapping[int, int]]]
"""Offset of each partition's first record that was appended then or later; where the log ends, if there is none."""


Offsets = tuple[int, int]
"""The first, and the one behind the last."""


async def offsets_of(chosen: Range, bounds: Mapping[int, Offsets], first_since: FirstSince) -> dict[int, Offsets]:
    """The range in offsets, within `bounds`, the first and the last that may be chosen, by partition.

    Raises `BadSelection` for a partition that is not in `bounds`.
    """
    partitions = chosen_partitions(chosen.partitions, bounds)
    starts = await _offsets(chosen.start, partitions, first_since)
    stops = await _offsets(chosen.stop, partitions, first_since)
    found = {}
    for one in partitions:
        first, end = bounds[one]
        start = max(first, starts.get(one, first))
        found[one] = (start, max(start, min(end, stops.get(one, end))))
    return found


def chosen_partitions(chosen: Collection[int], known: Collection[int]) -> list[int]:
    """Those of the command topic that were named, or all that are known. Raises `BadSelection`."""
    if unknown := sorted(set(chosen).difference(known)):
        raise BadSelection(f"there is no partition {unknown[0]}; the topic has {len(known)}, from 0 on")
    return sorted(set(chosen) or known)


async def _offsets(bound: Bound | None, partitions: Sequence[int], first_since: FirstSince) -> Mapping[int, int]:
    if bound is None:
        return {}
    if isinstance(bound, int):
        return dict.fromkeys(partitions, bound)
    return await first_since(partitions, bound)
