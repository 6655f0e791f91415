"""Files of rows for tests of `submit`."""

import json
from collections.abc import Sequence
from pathlib import Path

from worker.messages.envelope import Limits
from worker.tools.submit.checking import table_of
from worker.tools.submit.columns import Choices
from worker.tools.submit.table import Row, Table

PRODUCT = "6650a1b2c3d4e5f6a7b8c9d0"
GTIN = "04012345000016"
HEAD = "productId,gs1.gtin,gs1.serialNumber"
BODY = {"productId": PRODUCT, "gs1": {"gtin": GTIN, "serialNumber": "U1"}}
LINE = json.dumps(BODY).encode()
LIMITS = Limits()
_NOTHING_SAID = Choices()


def table(
    folder: Path,
    content: str | bytes,
    choices: Choices = _NOTHING_SAID,
    only: Sequence[str] = (),
    name: str = "units.csv",
) -> Table:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return table_of(path, LIMITS, choices, only)


def rows_of(folder: Path, content: str | bytes, choices: Choices = _NOTHING_SAID, name: str = "units.csv") -> list[Row]:
    """Its rows."""
    return list(table(folder, content, choices, name=name).rows())


def bodies(rows: Sequence[Row]) -> list[object]:
    """What they ask for; None of bad ones."""
    return [None if row.command is None else row.command.body for row in rows]


def problems(row: Row) -> tuple[str, ...]:
    """Everything that is wrong with it."""
    return tuple(map(str, row.faults))
