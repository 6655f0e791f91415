"""`passport-worker demo`: sets the stage, plays the stream, audits the results, and continues slowly with --keep."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Self

from aiokafka.protocol.group import LeaveGroupRequest
from rich.console import Console

from worker.messages.rules import CREATED, REPLAYED
from worker.settings import PREFIX, VARIABLES, Settings
from worker.stream.cluster.connection import Cluster
from worker.tools.audit.audit import audit
from worker.tools.cli.errors import Failed
from worker.tools.cli.progress import display
from worker.tools.common.group_view import members
from worker.tools.common.progress import Progress
from worker.tools.common.selection import Range
from worker.tools.common.servers import SERVER_ERRORS, both_servers
from worker.tools.demo.makers import makers, sample_catalogue
from worker.tools.demo.own_process import ConsoleProcess
from worker.tools.demo.play import ENDLESS_RATE, Play
from worker.tools.demo.stage import Interrupted, Stage, Telling, say, stage, start, temporary_folder

HOW_TO_KEEP = "`passport-worker demo --keep` continues until Ctrl-C, with commands to try."
RUN_AGAIN = "passport-worker run"

_SHEET_ROWS = 5
_FORGET = f"unset {PREFIX} $(env | grep -oE '^({PREFIX}|PG)[A-Z0-9_]*')"
"""A line for any shell: variables of the other terminal may lead to other servers."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REFRESH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line. Unless `embedded`, the demo uses the servers of the settings."""

    commands: int
    keep: bool
    embedded: bool
    live: bool


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


async def run_demo(settings: Settings, console: Console, options: Options) -> None:
    """Play a stream of commands and audit its results. Ctrl-C ends the stream early; the audit still runs.

    Raises `Failed` for a broken promise, `ServerFailed` and `ServerMissing`.
    """
    with Interruption() as interruption:
        try:
            await _demo(settings, console, options, interruption)
        except Interrupted:
            console.print("stopped before anything was published")
        except asyncio.CancelledError:
            if not interruption.is_impatient:
                raise
            console.print("stopped at once, without an audit")


async def _demo(settings: Settings, console: Console, options: Options, interruption: Interruption) -> None:
    say(console, "Simulated factories, the real worker, and an audit of its results", "")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        tell = Telling(console, interruption.asked)
        setting = stage(settings, sample_catalogue(), folder, tell, embedded=options.embedded)
        set_up = await stack.enter_async_context(setting)
        console_page = ConsoleProcess(set_up.environment, folder)
        await start(stack, tell, "the console", console_page)
        say(console, f"Look at it while it runs: {console_page.url}", "")
        play = Play(set_up.settings, options.commands, interruption.asked)
        async with play:
            with display(console, live=options.live, line_seconds=1.0) as shown:
                while not play.is_over():
                    set_up.worker.assert_running()
                    shown.show("answered", play.answered, options.commands, _counts(play))
                    await asyncio.sleep(_REFRESH_SECONDS)
        say(console, *_summary(play))
        if breaches := play.breaches():
            raise Failed(f"the promise is broken: {'; '.join(breaches)}")
        say(console, await _audited(set_up.settings, play), "")
        if not options.keep or interruption.asked.is_set():
            say(console, HOW_TO_KEEP)
            return
        async with Play(set_up.settings, None, interruption.asked) as slow_play:
            say(console, *_things_to_try(set_up, folder, play, options))
            say(console, f"The console is at {console_page.url}, and metrics at {set_up.worker.url}/metrics")
            say(console, f"Factories continue, with {ENDLESS_RATE:g} commands per second, until Ctrl-C.")
            await _keep_playing(set_up, console, slow_play, interruption, embedded=options.embedded)
            say(console, "Ending …")


def _counts(play: Play) -> str:
    """Counts, short enough to fit beside a bar in 80 columns."""
    counts = {"created": play.outcomes[201, CREATED], "replayed": play.outcomes[201, REPLAYED]}
    counts["refused"] = play.answered - sum(counts.values())
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _summary(play: Play) -> Iterator[str]:
    yield "Outcomes"
    for (status, code), count in sorted(play.outcomes.items()):
        yield f"  {count:7,}  {status} {code}"
    yield f"Published {play.published:,} commands, and read {play.answered:,} results in {play.seconds:.1f} s."


async def _audited(settings: Settings, play: Play) -> str:
    """Compare all results since the demo's first command with the ledger, as `passport-worker audit` does.

    Returns its verdict. Raises `Failed` for a broken promise, and if a server does not answer.
    """
    async with both_servers(settings) as servers:
        try:
            chosen = Range(start=play.first_appended)
            report = await audit(servers, chosen, Progress(), allow_repeats=False)
        except SERVER_ERRORS as error:
            raise Failed(f"the audit could not run: {servers.problem(error).text}") from error
    audited = sum(lane.commands for lane in report.lanes)
    problems = [f"{problem.place}: {problem.code}, {problem.text}" for problem in report.problems]
    if audited < play.published:
        problems.append(f"the audit found only {audited:,} of {play.published:,} commands")
    if problems:
        raise Failed(f"the promise is broken: {'; '.join(problems)}")
    return f"Promise kept: {audited:,} commands, one result each (`passport-worker audit`)."


def _things_to_try(set_up: Stage, folder: Path, play: Play, options: Options) -> Iterator[str]:
    """Write a file of settings and a sheet to submit, and yield commands to paste into another terminal."""
    maker, (other, *_) = makers()[1], makers()[0].lines
    settings_file, sheet = folder / "settings.sh", folder / "units.csv"
    write_settings(settings_file, set_up.exports(maker.api_key), embedded=options.embedded)
    line, lot = maker.lines[0], secrets.token_hex(3)
    rows = [(line.product_id, line.gtin, f"{lot}-{number}") for number in range(1, _SHEET_ROWS)]
    rows = [("productId", "gs1.gtin", "gs1.serialNumber"), *rows, (other.product_id, line.gtin, f"{lot}-{_SHEET_ROWS}")]
    sheet.write_text("".join(f"{','.join(row)}\n" for row in rows), encoding="utf-8")
    code = "serial-exists" if "serial-exists" in play.examples else next(iter(play.examples))
    where = "" if options.embedded else ", with the same PASSPORT_* variables as this one"
    yield from (f"Try it. First, in another terminal{where}:", f"  . {quote(str(settings_file))}", "")
    yield f"Submit a sheet of {maker.name}, whose last row names another maker's product:"
    yield from (f"  passport-worker submit {quote(str(sheet))}", "")
    yield from ("See answers as they come:", "  passport-worker tail --since 1m", "")
    yield f"Ask why a command got its answer, here {code}:"
    yield from (f"  passport-worker explain {play.examples[code]}", "")
    yield "Read the newest passports as your own consumer would (kcat is not part of this):"
    kafka, topic = set_up.settings.kafka_bootstrap_servers, set_up.settings.topic_created
    yield from (f"  kcat -C -b {kafka} -t {topic} -o -1 -e", "")


def write_settings(file: Path, exports: Iterable[str], *, embedded: bool) -> None:
    """Write the lines of a shell that lead another terminal to the servers of the demo.

    The file repeats the worker's settings of this environment, but no password. A user's own API key is no setting.
    """
    lines = [f"export PATH={quote(str(Path(sys.executable).parent))}:$PATH", *exports]
    if embedded:  # else the other terminal has the same variables, with passwords, which belong in no file
        taken = {name for name in VARIABLES if not name.endswith("_PASSWORD")}
        ours = [f"export {name}={quote(value)}" for name, value in os.environ.items() if name in taken]
        lines = [_FORGET, *ours, *lines]
    file.touch(mode=0o600)  # before it holds anything
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def _keep_playing(
    set_up: Stage, console: Console, play: Play, interruption: Interruption, *, embedded: bool
) -> None:
    """Wait for Ctrl-C. Meanwhile somebody may stop the worker, and start another one by hand."""
    has_ended = False
    while not interruption.asked.is_set() and not play.is_over():
        for server in set_up.servers:
            if server is not set_up.worker:
                server.assert_running()
        if not has_ended and (code := set_up.worker.exit_code) is not None:
            has_ended = True
            if code < 0 and embedded:
                await _leave_for(set_up.settings)
            say(console, f"The worker has ended with exit code {code}; the rest runs on. Start another: {RUN_AGAIN}")
        await asyncio.sleep(_REFRESH_SECONDS)


async def _leave_for(settings: Settings) -> None:
    """Leave the group on behalf of a killed worker. Raises `CLUSTER_ERRORS`.

    Kafka drops a member without heartbeats. The embedded broker keeps it, and the next worker would get no lane.
    """
    cluster = Cluster(settings)
    try:
        for member in await members(cluster, settings.group_id):
            await cluster.ask_group_coordinator(settings.group_id, LeaveGroupRequest(settings.group_id, member.id))
    finally:
        await cluster.close()
