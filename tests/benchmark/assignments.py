"""Who has which partitions: from the line `assigned` that a worker logs in every generation of its group."""

import json
import time
from collections.abc import Iterable
from datetime import datetime

from tests.benchmark.place import Place

_SECONDS = 60.0


def shared_at(lines: Iterable[str], workers: int, partitions: int) -> float | None:
    """When the newest generation's last worker got its partitions, in milliseconds since the epoch.

    None unless so many workers, some of which may have none, share all partitions in that generation.
    """
    assigned = [json.loads(line) for line in lines if '"event": "assigned"' in line and line.endswith("}")]
    newest = max((one["generation"] for one in assigned), default=0)
    newest_ones = [one for one in assigned if one["generation"] == newest]
    if len(newest_ones) != workers or sum(len(one["partitions"]) for one in newest_ones) != partitions:
        return None
    return max(datetime.fromisoformat(one["timestamp"]).timestamp() * 1000 for one in newest_ones)


def wait_until_shared(place: Place, workers: int, after_ms: float = 0.0) -> float:
    """Wait until so many workers share all partitions since a moment; when, in milliseconds since the epoch."""
    deadline = time.monotonic() + _SECONDS
    while True:
        at_ms = shared_at(place.log_text().splitlines(), workers, place.partitions)
        if at_ms is not None and at_ms > after_ms:
            return at_ms
        if time.monotonic() > deadline:
            raise TimeoutError(f"{workers} workers do not share the partitions\n{place.log_tail()}")
        time.sleep(0.1)
