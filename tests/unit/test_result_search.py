"""Where the result of a command is looked for: found wherever it stands, in few looks, however logs grow."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from worker.tools.explain.kafka_side import NamingRecords


class _Record:
    def __init__(self, offset: int, cause: int) -> None:
        self.offset, self.cause = offset, cause


class _Log:
    """Records by offset, None for markers; counts the looks."""

    def __init__(self, records: list[_Record | None]) -> None:
        self.stored, self.looks = records, 0

    async def read(
        self, _topic: str, _partition: int, start: int, stop: int, *, fetch_bytes: int
    ) -> AsyncIterator[list[_Record]]:
        """See `LogReader`."""
        self.looks += 1
        for record in self.stored[start:stop]:
            if record is not None:
                yield [record]


def _log(chance: random.Random, size: int, *, evenly: bool) -> list[_Record | None]:
    records, cause = list[_Record | None](), 0
    for offset in range(size):
        cause += chance.randint(1, 5) if evenly or offset < size // 2 else chance.choice((1, 1, 1, 10_000))
        records.append(_Record(offset, cause) if chance.random() < 0.9 else None)
    return records


@pytest.mark.parametrize("evenly", [True, False])
@pytest.mark.parametrize("size", [0, 1, 2, 5, 100, 30_000])
async def test_the_first_that_names_a_command_is_found(size: int, evenly: bool) -> None:
    """Or none, where none does; by proportion in a third of the looks that halves take, and never in over two times."""
    chance = random.Random(size)
    records = _log(chance, size, evenly=evenly)
    named = {one.cause: one for one in records if one is not None}
    looks = []
    for _ in range(100):
        wanted = chance.choice([*named, 0, 7, max(named, default=0) + 1])
        log: Any = _Log(records)
        reader: Any = NamingRecords(log, "t", 0, lambda one: one.cause)  # type: ignore[attr-defined]
        found, at = await reader.search(0, size, wanted)
        assert found is named.get(wanted)
        assert at <= size
        looks.append(log.looks)
    assert max(looks) <= 2 * size.bit_length() + 1
    if evenly and size > 1000:
        assert sum(looks) / len(looks) < 0.6 * size.bit_length()
