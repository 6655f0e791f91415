"""`passport-worker demo`: set the stage, play the stream, audit the results, and tell how to go on by hand."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from shlex import quote
from typing import Self

from rich.console import Console

from worker.settings import Settings
from worker.tools.audit.audit import audit
from worker.tools.audit.report import AuditReport
from worker.tools.cli.errors import Failed
from worker.tools.cli.progress import Display, display
from worker.tools.common.progress import Quiet
from worker.tools.common.selection import Range
from worker.tools.common.servers import SERVER_ERRORS, both_servers
from worker.tools.demo.makers import makers, sample_catalogue
from worker.tools.demo.own_process import ConsoleProcess
from worker.tools.demo.play import Play
from worker.tools.demo.stage import Interrupted, Stage, Telling, exports, stage, start, temporary_folder

RUN_AGAIN = "passport-worker run"
HOW_TO_KEEP = "`passport-worker demo --keep` leaves everything running, and prints how to send commands by hand."

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REFRESH_SECONDS = 0.1


class PromiseBroken(Failed):
    """A command has no result, two, or a wrong one; the text says which."""


class Interruption:
    """Signals that end the demo. The first one ends the stream; the second one ends everything at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.is_impatient = False
        self._task = asyncio.current_task()

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        return self

    def __exit__(self, *_: object) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _signalled(self) -> None:
        if self.asked.is_set() and not self.is_impatient and self._task is not None:
            self.is_impatient = True  # cancel only once: the embedded servers must still be stopped
            self._task.cancel()
        self.asked.set()


async def run_demo(settings: Settings, *, commands: int, keep: bool, live: bool) -> None:
    """Play `commands` commands and audit their results. Ctrl-C ends the stream early; the audit still runs.

    Raises `PromiseBroken`, `ServerFailed` and `ServerMissing`.
    """
    console = Console(highlight=False, markup=False)
    with Interruption() as interruption:
        try:
            await _demo(settings, commands, keep, live, console, interruption)
        except Interrupted:
            console.print("stopped before anything was published")
        except asyncio.CancelledError:
            if not interruption.is_impatient:
                raise
            console.print("stopped at once, without an audit")


async def _demo(  # noqa: PLR0913 - what the command line says, and what outlives it
    settings: Settings, commands: int, keep: bool, live: bool, console: Console, interruption: Interruption
) -> None:
    _print(console, "passport-worker demo: simulated factories, the real worker, an audit of the results", "")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        tell = Telling(console, interruption.asked)
        set_up = await stack.enter_async_context(stage(settings, sample_catalogue(), folder, tell))
        console_page = ConsoleProcess(set_up.environment, folder)
        await start(stack, tell, "the console", console_page)
        _print(console, f"Look at it while it runs: {console_page.url}", "")
        play = Play(set_up.settings, commands, interruption.asked)
        async with play:
            with display(console, live=live, line_seconds=1.0) as shown:
                while not play.is_over():
                    set_up.worker.assert_running()
                    _show_progress(shown, play)
                    await asyncio.sleep(_REFRESH_SECONDS)
        _print(console, *_summary(play))
        if breaches := play.breaches():
            raise PromiseBroken(f"the promise is broken: {'; '.join(breaches)}")
        _print(console, await _audited(set_up.settings, play), "")
        if keep and not interruption.asked.is_set():
            _print(console, *_by_hand(set_up, console_page.url))
            await _stay(set_up, console, interruption)
        else:
            _print(console, HOW_TO_KEEP)


def _show_progress(shown: Display, play: Play) -> None:
    statuses = {status: 0 for status, _ in sorted(play.outcomes)}
    for (status, _), count in play.outcomes.items():
        statuses[status] += count
    counts = "  ".join(f"{status}: {count:,}" for status, count in statuses.items())
    shown.show("answered", play.answered, play.count, f"published {play.published:,}  {counts}")


def _summary(play: Play) -> Iterator[str]:
    yield "Outcomes"
    for (status, code), count in sorted(play.outcomes.items()):
        yield f"  {count:7,}  {status} {code}"
    yield f"Published {play.published:,} commands, and read {play.answered:,} results in {play.seconds:.1f} s."


async def _audited(settings: Settings, play: Play) -> str:
    """Compare all results since the demo's first command with the ledger, as `passport-worker audit` does.

    Returns its verdict. Raises `PromiseBroken`, and `Failed` if a server does not answer.
    """
    async with both_servers(settings) as servers:
        try:
            chosen = Range(start=play.first_appended)
            report: AuditReport = await audit(servers, chosen, Quiet(), allow_repeats=False)
        except SERVER_ERRORS as error:
            raise Failed(f"the audit could not run: {servers.problem(error).text}") from error
    audited = sum(lane.commands for lane in report.lanes)
    problems = [f"{problem.place}: {problem.code}, {problem.text}" for problem in report.problems]
    if audited < play.published:
        problems.append(f"the audit met only {audited:,} of {play.published:,} commands")
    if problems:
        raise PromiseBroken(f"the promise is broken: {'; '.join(problems)}")
    return f"Promise kept: {audited:,} commands, one result each (`passport-worker audit`)."


def _by_hand(set_up: Stage, console_url: str) -> Iterator[str]:
    """Lines to paste into a shell while everything runs: settings, a command to send, and where to look."""
    settings, maker = set_up.settings, makers()[1]
    kafka, line = settings.kafka_bootstrap_servers, maker.lines[0]
    command = {"productId": line.product_id, "gs1": {"gtin": line.gtin, "serialNumber": "BY-HAND-1"}}
    yield "# By hand, in another shell, with these settings (and the PASSPORT_* variables of this one, if any)"
    yield f"  export PATH={quote(str(Path(sys.executable).parent))}:$PATH"
    yield from (f"  {export}" for export in exports(set_up.environment))
    yield f"  export KAFKA_BOOTSTRAP_SERVERS={quote(kafka)} PASSPORT_API_KEY={maker.api_key}"
    yield f"# Send a command for product {line.product_id} of {maker.name}, and read its result"
    yield f"  echo '{json.dumps(command)}' |"
    yield f"    kcat -P -b $KAFKA_BOOTSTRAP_SERVERS -t {settings.topic_commands} -k {line.gtin} \\"
    yield '      -H "authorization=Bearer $PASSPORT_API_KEY" -H idempotency-key=by-hand-1'
    yield f"  kcat -C -b $KAFKA_BOOTSTRAP_SERVERS -t {settings.topic_created} -o -1 -e \\"
    yield "    -X isolation.level=read_committed -f '%h\\n%s\\n'"
    yield "# Look at passports, the console, health, metrics and the worker's log"
    yield '  psql "$PASSPORT_DATABASE_URL" -c \\'
    yield "    'SELECT right(id::text, 24), gtin, serial, created_at FROM passport ORDER BY created_at DESC LIMIT 3'"
    yield f"  xdg-open {console_url} || open {console_url}"
    yield f"  curl {set_up.worker.url}/readyz {set_up.worker.url}/metrics"
    yield f"  cat {quote(str(set_up.worker.log))}"
    yield "# Stop the worker, to replay results or to run another version; everything else goes on"
    yield f"  kill {set_up.worker.pid}"
    yield f"  {RUN_AGAIN}"


async def _stay(set_up: Stage, console: Console, interruption: Interruption) -> None:
    """Wait for Ctrl-C. Meanwhile the worker may be stopped, and another one started by hand."""
    console.print("\nRunning. Ctrl-C stops it and removes everything.")
    has_ended = False
    while not interruption.asked.is_set():
        if not has_ended and (code := set_up.worker.exit_code) is not None:
            has_ended = True
            _print(console, f"The worker has ended with exit code {code}; all else goes on. Start another: {RUN_AGAIN}")
        await asyncio.sleep(_REFRESH_SECONDS)


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)  # never wrapped, so that commands can be copied
