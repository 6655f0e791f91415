"""`python -m tests.benchmark.operations`: how fast the operators' long verbs are, and their memory, on a large run."""

import asyncio
import json
import subprocess
import sys
import time
from typing import Annotated, Any

from cyclopts import App, Parameter

from tests.benchmark.commands import Shape
from tests.benchmark.figures import console
from tests.benchmark.place import Place, fresh_place
from tests.benchmark.servers import servers
from tests.benchmark.throughput import WORKER
from tests.operations.mixture import copy_database
from tests.workbench import REPOSITORY

PIECE = 100_000
REASON = ("--execute", "--reason", "benchmark")

app = App(name="python -m tests.benchmark.operations")


@app.default
def measure(*, commands: Annotated[int, Parameter(help="How many are answered first.")] = 1_000_000) -> None:
    """Answer commands, kill the worker and copy the database halfway, and then audit, replay and recover."""
    with servers() as found, fresh_place(found, Shape(), 6) as place:
        old = _answer(place, commands)
        for verb in (("audit",), ("replay", "--rate", "0"), ("audit",)):
            arguments = REASON if verb[0] == "replay" else ()
            report = timed(place, commands, *verb, *arguments)
            assert report["ok"], report["problems"][:3]
        report = timed(place, 0, "lanes", "recover", PASSPORT_DATABASE_URL=old)
        count = sum(lane["commands"] for lane in report["lanes"])
        console.print(f"  {count:,} commands are to be recovered")
        report = timed(place, count, "lanes", "recover", *REASON, PASSPORT_DATABASE_URL=old)
        assert report["ok"], report["problems"][:3]


def _answer(place: Place, commands: int) -> str:
    """Have them answered; the URL of a copy of the database that lacks the last half."""
    old = ""
    with place.reader() as reader:
        worker = place.start(*WORKER.module)
        for at in range(0, commands, PIECE):
            if at >= commands // 2 and not old:
                worker.kill()
                worker.wait()
                old = asyncio.run(copy_database(place.settings.database_url, "old"))
                worker = place.start(*WORKER.module)
            place.publish(min(PIECE, commands - at))
            place.wait(reader, "answering")
            console.print(f"  {place.sent:,} commands are answered")
    place.stop()
    return old


def timed(place: Place, records: int, *verb: str, **environment: str) -> dict[str, Any]:
    """Run a verb; how long it took, a second, and its memory at its highest."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *verb, "--json"],
        cwd=REPOSITORY,
        env={**place.servers.clean_environment(), **place.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    highest = 0
    while process.poll() is None:
        highest = max(highest, _peak_kb(process.pid))
        time.sleep(0.2)
    seconds = time.monotonic() - began
    assert process.stdout is not None
    report: dict[str, Any] = json.loads(process.stdout.read())
    rate = f", {records / seconds:,.0f}/s" if records else ""
    console.print(f"{' '.join(verb)}: {seconds:.1f} s{rate}, {highest / 1024:.0f} MB, ok {report['ok']}")
    return report


def _peak_kb(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


if __name__ == "__main__":
    app()
