"""`python -m tests.benchmark.restore`: what a restore loses, and how long backup, restore and recovery take."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from tests.benchmark.commands import Shape
from tests.benchmark.figures import console
from tests.benchmark.operations import REASON, timed
from tests.benchmark.place import Place, fresh_place
from tests.benchmark.reader import ResultReader
from tests.benchmark.servers import archiving_servers
from tests.benchmark.throughput import WORKER

PIECE = 50_000

app = App(name="python -m tests.benchmark.restore")


@app.default
def measure(*, commands: Annotated[int, Parameter(help="How many are answered in each of three parts.")]) -> None:
    """Back up after a third; after two thirds is the moment to which a restore goes, once all is answered and lost."""
    with archiving_servers() as (servers, postgres), fresh_place(servers, Shape(), 6) as place:
        with place.reader() as reader:
            place.start(*WORKER.module)
            _answer(place, reader, commands)
            with _timed("base backup", commands):
                backup = postgres.back_up(place.environment)
            console.print(f"  it has {_megabytes(backup):,.0f} MB")
            began = _ask(place, _WRITTEN)
            _answer(place, reader, commands)
            written = (_ask(place, _WRITTEN) - began) / commands
            console.print(
                f"  a command writes {written:,.0f} bytes of log: {_FILE / written:,.0f} a file of the archive"
            )
            moment = datetime.now(UTC)
            _answer(place, reader, commands)
            asyncio.run(postgres.archive_all())
            place.stop()
        postgres.lose()
        with _timed("restore, and reading the archive", commands):
            asyncio.run(postgres.restore(backup, moment))
        assert _ask(place, _ANSWERED) == 2 * commands
        for verb in (("lanes", "recover"), ("lanes", "recover", *REASON), ("audit",)):
            report = timed(place, commands * (3 if verb == ("audit",) else 1), *verb)
            assert report["ok"], report["problems"][:3]
        assert _ask(place, _ANSWERED) == 3 * commands


_FILE = 16 * 1024 * 1024
_WRITTEN = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint"
_ANSWERED = "SELECT count(*) FROM ledger"


def _answer(place: Place, reader: ResultReader, commands: int) -> None:
    for at in range(0, commands, PIECE):
        place.publish(min(PIECE, commands - at))
        place.wait(reader, "answering")


def _ask(place: Place, query: str) -> int:
    (row,) = asyncio.run(place.fetch(query))
    return int(row[0])


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@contextmanager
def _timed(what: str, commands: int) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    console.print(f"{what}: {seconds:.1f} s, {seconds / commands * 1e6:.0f} s per million commands")


if __name__ == "__main__":
    app()
