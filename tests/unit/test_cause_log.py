"""Results beside the commands that they name: windows end where the log has passed them, whatever is forged."""

from collections.abc import AsyncIterator, Sequence

import pytest

from worker.messages.envelope import Record
from worker.tools.common.history import LOOK_AHEAD, CauseLog

END = 1000
FORGED = 99_999_999


def _record(at: int, cause: int | None) -> Record:
    return Record("t", 0, at, 0, b"k", b"" if cause is None else b"%d" % cause, ())


async def _log(causes: Sequence[int | None], at_once: int) -> AsyncIterator[list[Record]]:
    records = [_record(at, cause) for at, cause in enumerate(causes)]
    for start in range(0, len(records), at_once):
        yield records[start : start + at_once]


class _Reading:
    """A log of results with these causes, and how far it was read."""

    def __init__(self, causes: Sequence[int | None], at_once: int) -> None:
        self.strays: list[int | None] = []
        self._log = CauseLog(_log(causes, at_once), lambda record: int(record.value or b"-1") if record.value else None)
        self._log.stray = lambda _, cause: self.strays.append(cause)

    async def until(self, stop: int) -> list[int]:
        """Causes in the order in which they are given."""
        return [one.cause async for found in self._log.until(stop, END) for one in found]


@pytest.mark.parametrize("at_once", [1, 7, 300])
@pytest.mark.parametrize("forged", [FORGED, None, 990])
async def test_a_forged_record_in_the_middle_ends_nothing(at_once: int, forged: int | None) -> None:
    """It names a command that is not there, none, or one that comes later. Seen to fail: the window ended at it."""
    causes: list[int | None] = [*range(300)]
    causes[5:5] = [forged, forged]
    reading = _Reading([*causes, *range(300, 400)], at_once)
    assert await reading.until(5) == [0, 1, 2, 3, 4]
    assert await reading.until(200) == [*range(5, 200)]
    assert reading.strays == ([] if forged == 990 else [forged, forged])
    rest = [*range(200, 400)]
    assert await reading.until(END) == ([990, 990] if forged == 990 else []) + rest


_BESIDE_A_REPLAY = [*range(100), *(cause for at in range(2000) for cause in (100 + at, at % 80))]


@pytest.mark.parametrize("at_once", [1, 300])
@pytest.mark.parametrize(
    ("causes", "start"), [(range(5000), 0), (_BESIDE_A_REPLAY, 90)], ids=["first results", "beside a replay"]
)
async def test_a_log_is_read_no_further_than_needed(causes: Sequence[int], start: int, at_once: int) -> None:
    """Memory does not grow with the logs. Seen to fail: a window held all results that a replay alternated with."""
    read = 0

    async def counted() -> AsyncIterator[list[Record]]:
        nonlocal read
        async for records in _log(causes, at_once):
            read += len(records)
            yield records

    log = CauseLog(counted(), lambda record: int(record.value or b""), start)
    for begin, stop in ((start, start + 10), (start + 10, start + 20)):
        window = [named.cause async for found in log.until(stop, 5000) for named in found]
        assert [cause for cause in window if cause >= begin] == [*range(begin, stop)]
        assert read <= stop + 4 * LOOK_AHEAD + at_once


async def test_repeats_come_with_the_window_that_they_stand_in() -> None:
    """Results that were emitted again stand behind later ones."""
    reading = _Reading([0, 1, 2, 3, 1, 2, 3, *range(4, 200)], 300)
    assert await reading.until(3) == [0, 1, 2, 1, 2]
    assert await reading.until(5) == [3, 3, 4]
