"""`python -m tests.benchmark.submit`: how fast `submit` is beside what the worker takes alone, and its memory."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from tests.benchmark.catalogue import product
from tests.benchmark.commands import Shape
from tests.benchmark.figures import Figures
from tests.benchmark.memory import peak_megabytes
from tests.benchmark.place import Place, fresh_place
from tests.benchmark.servers import servers
from tests.benchmark.throughput import WORKER, answer_backlog, begin
from tests.workbench import REPOSITORY

PRODUCTS = 100
BACKLOG = 60_000
BASE = "worker alone"

app = App(name="python -m tests.benchmark.submit")


@app.default
def measure(
    *,
    rows: Annotated[int, Parameter(help="Of the spreadsheet.")] = 1_000_000,
    rounds: Annotated[int, Parameter(help="How often; the worker alone and `submit` in turn.")] = 1,
) -> None:
    """One company's spreadsheet, as German Excel saves it, through a worker that has just been measured alone."""
    figures = Figures()
    with servers() as found:
        for _ in range(rounds):
            with fresh_place(found, Shape(companies=1, products=PRODUCTS), 6) as place:
                _round(place, rows, figures)
    figures.print(BASE)


def _round(place: Place, rows: int, figures: Figures) -> None:
    with place.reader() as reader:
        begin(place, WORKER, reader)
        figures.add(BASE, answer_backlog(place, reader, BACKLOG).per_second, "rows/s")
    sheet = place.log.with_suffix(".csv")
    write_sheet(sheet, rows, place.token)
    dry = figures.add("a dry run", _timed(place, sheet, figures, "--dry-run"), "s")
    whole = figures.add("submit", _timed(place, sheet, figures), "s")
    figures.add("submit, the whole", rows / whole, "rows/s")
    figures.add("submit, rows checked", rows / (whole - dry), "rows/s")
    again = figures.add("all answered: nothing to do", _timed(place, sheet, figures), "s")
    assert again < whole
    place.stop()
    for one in (sheet, Path(f"{sheet}.answers.csv")):
        one.unlink()


def write_sheet(path: Path, rows: int, token: str) -> None:
    """A spreadsheet of one company's units, as German Excel saves it."""
    with path.open("w", encoding="utf-8-sig", newline="") as sheet:
        sheet.write("productId;gs1.gtin;gs1.serialNumber;parties.importer.legalName;parties.importer.gln\r\n")
        sheet.writelines(_lines(rows, token))


def _lines(rows: int, token: str) -> Iterator[str]:
    for number in range(rows):
        one = product(0, number % PRODUCTS)
        importer = '"Größe; GmbH";4012345000009' if number % 5 == 0 else ";"
        yield f"{one.product_id};{one.gtin};{token}-U{number:08d};{importer}\r\n"


def _timed(place: Place, sheet: Path, figures: Figures, *options: str) -> float:
    """Seconds that `submit` takes to its end; its memory at its highest goes into the figures."""
    began, highest = time.monotonic(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "submit", str(sheet), *options],
        cwd=REPOSITORY,
        env={**place.servers.clean_environment(), **place.environment, "PASSPORT_API_KEY": product(0).api_key},
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        highest = max(highest, _peak(process.pid))
        time.sleep(0.1)
    seconds = time.monotonic() - began
    assert process.stdout is not None
    assert process.returncode == 0, process.stdout.read()
    figures.add(f"submit {' '.join(options)}: memory", highest, "MB")
    return seconds


def _peak(pid: int) -> float:
    try:
        return peak_megabytes(pid)
    except (OSError, StopIteration):  # it has just ended
        return 0.0


if __name__ == "__main__":
    app()
