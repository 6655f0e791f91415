"""Reads ledger rows whose results Kafka lacks, for one transaction of the lanes that are behind."""

from collections.abc import Sequence
from dataclasses import replace

from worker.batch.batch import Batch
from worker.messages.events import Answer, header_bytes
from worker.store.port import Store
from worker.stream.open_lane import OpenLane

# A transaction with this many records or bytes takes no further lane.
REEMIT_RECORDS = 1000
REEMIT_BYTES = 4 * 1024 * 1024


async def read_ledger(store: Store, lanes: Sequence[OpenLane]) -> dict[OpenLane, Batch | None]:
    """Read ledger rows of [E, A) of the first lanes. None for a lane whose rows were dropped meanwhile."""
    read: dict[OpenLane, Sequence[Answer]] = {}
    records = size = 0
    for lane in lanes:
        if records >= REEMIT_RECORDS or size >= REEMIT_BYTES:
            break
        max_records = max(1, REEMIT_RECORDS // len(lanes))
        read[lane] = await store.answers(lane.token, lane.emitted, lane.applied, max_records)
        records, size = records + len(read[lane]), size + sum(map(_size, read[lane]))
    # After the rows: a day that is dropped during the reads would look like a gap of markers.
    positions = await store.positions([lane.token for lane in read])
    batches: dict[OpenLane, Batch | None] = {}
    for lane, answers in read.items():
        position = positions.get(lane.token)
        # Answers after a dropped day would move E past results that were never published.
        if position is None or lane.emitted < position.ledger_from:
            batches[lane] = None
        else:
            # If no row is left, there are only markers between E and A (guard B12).
            stop = answers[-1].offset + 1 if answers else lane.applied
            batches[lane] = Batch(replace(lane.expected, applied=lane.emitted), stop, answers=answers)
    return batches


def _size(answer: Answer) -> int:
    letter = answer.dead_letter
    copied = 0 if letter is None else len(letter.value or b"") + header_bytes(letter.headers)
    return len(answer.value) + copied
