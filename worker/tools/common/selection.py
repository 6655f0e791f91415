"""Places and ranges of the command topic, as people type them."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.places import Place
from worker.domain.timestamps import parse_time

# An offset, or a time, which means the first record appended then or later.
Bound = int | datetime

_PLACE = re.compile(r"(?:(?P<topic>[a-zA-Z0-9._-]{1,249})[/:])?(?P<partition>[0-9]{1,9})[/:](?P<offset>[0-9]{1,18})")


class BadSelection(ValueError):
    """The typed text names no place or range; the message says what was expected."""


def place_of(text: str, topic: str) -> Place:
    """Parse `topic/partition/offset`, also with `:`, or `partition/offset` of `topic`. Raises `BadSelection`."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise BadSelection(f"expected topic/partition/offset or partition/offset, got {text!r}")
    return Place(match["topic"] or topic, int(match["partition"]), int(match["offset"]))


def bound_of(text: str) -> Bound:
    """Parse an offset, or a time in RFC 3339. Raises `BadSelection`."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    try:
        return time_of(text)
    except BadSelection:
        raise BadSelection(f"expected an offset, or a time such as 2026-11-26T08:00:00Z, got {text!r}") from None


def time_of(text: str) -> datetime:
    """Parse a time in RFC 3339; returns it in UTC. Raises `BadSelection`."""
    if (time := parse_time(text)) is None:
        raise BadSelection(f"expected a time such as 2026-11-26T08:00:00Z, got {text!r}")
    return time


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of some partitions, or of all; `stop` is exclusive. None means the start or the end of the log."""

    partitions: tuple[int, ...] = ()
    start: Bound | None = None
    stop: Bound | None = None


# Returns the offset of each partition's first record appended then or later, or else the end of the log.
FirstSince = Callable[[Sequence[int], datetime], Awaitable[Mapping[int, int]]]


# The first offset, and the offset after the last.
Offsets = tuple[int, int]


async def offsets_of(chosen: Range, bounds: Mapping[int, Offsets], first_since: FirstSince) -> dict[int, Offsets]:
    """The offsets of a range by partition, within `bounds`: the offsets that may be chosen.

    Raises `BadSelection` for a partition that is not in `bounds`.
    """
    partitions = chosen_partitions(chosen.partitions, bounds)
    starts = await _offsets(chosen.start, partitions, first_since)
    stops = await _offsets(chosen.stop, partitions, first_since)
    offsets = {}
    for partition in partitions:
        first, end = bounds[partition]
        start = max(first, starts.get(partition, first))
        offsets[partition] = (start, max(start, min(end, stops.get(partition, end))))
    return offsets


def chosen_partitions(chosen: Collection[int], known: Collection[int]) -> list[int]:
    """The chosen partitions of the command topic, or all known ones. Raises `BadSelection`."""
    if unknown := sorted(set(chosen).difference(known)):
        raise BadSelection(f"there is no partition {unknown[0]}; the topic has {len(known)}, numbered from 0")
    return sorted(set(chosen) or known)


async def _offsets(bound: Bound | None, partitions: Sequence[int], first_since: FirstSince) -> Mapping[int, int]:
    if bound is None:
        return {}
    if isinstance(bound, int):
        return dict.fromkeys(partitions, bound)
    return await first_since(partitions, bound)
