"""What the ledger has of lanes that are behind: results that Kafka has not, read for one transaction."""

from collections.abc import Sequence

from worker.messages.events import Answer, header_bytes
from worker.store.port import Store
from worker.stream.open_lane import OpenLane
from worker.stream.producer import Part

REEMIT_RECORDS = 1000
REEMIT_BYTES = 4 * 1024 * 1024
"""No more lanes are read for a transaction once it has so many records, or bytes."""


async def read_ledger(store: Store, lanes: Sequence[OpenLane]) -> dict[OpenLane, Part | None]:
    """Ledger rows of [E, A), of some lanes; None for one whose rows were dropped meanwhile.

    A day that is dropped while its rows are read would look like a gap in the offsets, so we ask after reading.
    """
    read: dict[OpenLane, Sequence[Answer]] = {}
    records = size = 0
    for lane in lanes:
        if records >= REEMIT_RECORDS or size >= REEMIT_BYTES:
            break
        expected = lane.expected
        most = max(1, REEMIT_RECORDS // len(lanes))
        answers = await store.answers(expected.token, expected.emitted, expected.applied, most)
        read[lane] = answers
        records, size = records + len(answers), size + sum(map(_size, answers))
    positions = await store.positions([lane.expected.token for lane in read])
    parts: dict[OpenLane, Part | None] = {}
    for lane, found in read.items():
        expected = lane.expected
        position = positions.get(expected.token)
        if position is None or expected.emitted < position.ledger_from:
            parts[lane] = None
        else:
            stop = found[-1].offset + 1 if found else expected.applied
            parts[lane] = Part(lane.source, found, stop)
    return parts


def _size(answer: Answer) -> int:
    letter = answer.dead_letter
    copied = 0 if letter is None else len(letter.value or b"") + header_bytes(letter.headers)
    return len(answer.value) + copied
