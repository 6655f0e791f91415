"""`passport-worker dead-letters`: commands that could not be read or processed."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.messages.hints import printable
from worker.messages.reasons import DEAD_LETTER_REASONS
from worker.tools.cli.asking import ActOptions, Patience, RangeOptions, ask, ask_long, examples
from worker.tools.cli.channels import AllChannels, OneChannel, of_partitions, settings_of_all, settings_of_one
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.output import AsJson, Page, Table, copyable, show, status, tally
from worker.tools.common.hints import did_you_mean
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.selection import Range, place_of
from worker.tools.common.servers import Servers
from worker.tools.dead_letters.letters import list_all
from worker.tools.dead_letters.letters import show as show_letter
from worker.tools.dead_letters.redrive import RedriveRequest, redrive
from worker.tools.dead_letters.report import (
    DeadLetterReport,
    DeadLettersListReport,
    DeadLettersRedriveReport,
    DeadLettersShowReport,
    RedrivenReport,
)

app = App(
    name="dead-letters",
    help="Commands that could not be read or processed: list and show their copies, publish them again.",
)

Code = Annotated[str | None, Parameter(help="Only dead letters with this reason, as in `dlq-reason`.")]
_LIMIT = Parameter(help="List at most this many, the newest.")
_MOST_LISTED = 100_000
_PLACE = Parameter(help="Place of the command: topic/partition/offset, or partition/offset.")
_COLUMNS = ("place", "code", "appended", "key", "bytes", "company", "name", "published again")
_SPARE = ("company", "bytes", "key", "name", "published again")
# Characters of a value that people see; JSON has all of it.
_SHOWN_CHARACTERS = 4_000


@app.command(
    name="list",
    help_epilogue=examples(
        "dead-letters list --from 2026-11-26T00:00:00Z --code value-too-large",
        "dead-letters list --limit 1000 --json | jq -r '.deadLetters[].code' | sort | uniq -c",
    ),
)
def list_command(
    *,
    chosen: RangeOptions = RangeOptions(),
    code: Code = None,
    limit: Annotated[int, _LIMIT] = 50,
    channel: AllChannels = None,
    as_json: AsJson = False,
) -> NoReturn:
    """List dead letters, newest first: place, reason, time, key, size, and whether the command was published again."""
    wanted, reason = chosen.range(), _code(code)
    if not 1 <= limit <= _MOST_LISTED:
        raise BadUsage(f"--limit: expected a number from 1 to {_MOST_LISTED:,}, got {limit}")
    settings = of_partitions(settings_of_all(channel), "--partition", wanted.partitions)
    of_partitions(settings, "--from, --to", any(isinstance(bound, int) for bound in (wanted.start, wanted.stop)))

    report = ask(lambda servers: list_all(servers, wanted, reason, limit), settings)
    has_topics = len(settings.channel_names) > 1
    show(report, as_json=as_json, draw=partial(_draw_list, limit=limit, has_topics=has_topics))


@app.command(
    name="show",
    help_epilogue=examples("dead-letters show 3/4711", "dead-letters show 3/4711 --output value.bin"),
)
def show_command(
    place: Annotated[str, _PLACE],
    /,
    *,
    output: Annotated[Path | None, Parameter(help="Write the value into this file, byte for byte.")] = None,
    channel: OneChannel = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Show a whole dead letter: headers, key and value, escaped for the terminal. The copy holds no credentials."""
    settings = settings_of_one(channel)
    report, value = ask(lambda servers: show_letter(servers, place_of(place, settings.topic_commands)), settings)
    if output is not None and report.dead_letter is not None:
        _write(output, value)
    show(report, as_json=as_json, draw=_draw_one)


@app.command(
    name="redrive",
    help_epilogue=examples(
        "dead-letters redrive --code value-too-large --from 2026-11-26T00:00:00Z",
        'dead-letters redrive 3/4711 3/4712 --execute --reason "limit raised, ticket 4711"',
    ),
)
def redrive_command(
    *places: Annotated[str, _PLACE],
    chosen: RangeOptions = RangeOptions(),
    code: Code = None,
    again: Annotated[bool, Parameter(help="Include commands that were published again before.")] = False,
    channel: OneChannel = None,
    acting: ActOptions = ActOptions(),
    patience: Patience = 60,
    as_json: AsJson = False,
) -> NoReturn:
    """Publish commands again, once the cause is fixed: these places, or all of a range with a --code.

    Each new command repeats the original from the command topic, in its partition, with its credentials; its time is
    now. If this is interrupted, run it again: each command is published once. Without --execute it only says what it
    would do.
    """
    wanted, wanted_code = chosen.range(), _code(code)
    if bool(places) == (wanted_code is not None) or (places and wanted != Range()):
        raise BadUsage("expected either places, or a --code, with or without --partition, --from and --to")
    author = acting.author_if_executed()

    async def asking(servers: Servers, progress: Progress) -> DeadLettersRedriveReport:
        commands = tuple(place_of(place, servers.settings.topic_commands) for place in places)
        return await redrive(servers, RedriveRequest(commands, wanted, wanted_code, again, author), progress)

    report = ask_long(asking, _empty, patience, settings=settings_of_one(channel))
    outcomes = Counter[str](row.outcome for row in report.redrives)
    last = tally(outcomes) if outcomes else "No dead letter matches." if report.ok else None
    show(report, as_json=as_json, draw=_draw_redrive, last=last)


def _code(text: str | None) -> str | None:
    if text is not None and text not in DEAD_LETTER_REASONS:
        known = ", ".join(DEAD_LETTER_REASONS)
        raise BadUsage(f"--code: expected one of {known}, got {text!r}{did_you_mean(text, DEAD_LETTER_REASONS)}")
    return text


def _write(file: Path, value: bytes | None) -> None:
    if value is None:
        raise Failed("the value is null, so there is nothing to write")
    try:
        file.write_bytes(value)
    except OSError as error:
        raise Failed(f"cannot write {file}: {error.strerror}") from error


def _empty(problem: Problem) -> DeadLettersRedriveReport:
    return DeadLettersRedriveReport(problems=(problem,), executed=False, operation=None, warnings=(), redrives=())


def _draw_list(page: Page, report: DeadLettersListReport, *, limit: int, has_topics: bool) -> None:
    page.print(_letters(page, report.dead_letters, has_topics=has_topics))
    if report.ok and not report.dead_letters:
        page.print("No dead letters.")
    elif len(report.dead_letters) == limit:
        page.print(f"These are the newest {limit:,}; --limit shows more.")


def _letters(page: Page, letters: Iterable[DeadLetterReport], *, has_topics: bool = False) -> Table:
    """One row per dead letter. Places of several channels have their topics on a terminal, too."""
    rows = (
        (
            letter.place if has_topics else _place(page, letter.place),
            letter.code,
            None if letter.appended_at is None else f"{letter.appended_at:%Y-%m-%d %H:%M:%S}Z",
            letter.key,
            letter.value_bytes,
            letter.company,
            letter.name,
            _again(page, letter.redriven),
        )
        for letter in letters
    )
    return Table(_COLUMNS, rows, right=("bytes",), wraps=("name",), spare=_SPARE)


def _again(page: Page, redriven: RedrivenReport | None) -> str | None:
    if redriven is None:
        return None
    return "interrupted: redrive it again" if redriven.place is None else f"as {_place(page, redriven.place)}"


def _place(page: Page, place: str) -> str:
    """A place; on a terminal without the topic, which is the same for all, and which the verbs do not need."""
    return place.partition("/")[2] if page.is_terminal else place


def _draw_one(page: Page, report: DeadLettersShowReport) -> None:
    if report.dead_letter is None:
        return
    page.print(_letters(page, [report.dead_letter]))
    page.print(Table(("header", "value"), [(header.name, header.value) for header in report.headers]))
    for redriven in report.redrives:
        page.print(
            f"published again, {redriven.times}. time: {_again(page, redriven)} (operation {redriven.operation})"
        )
    if report.value is None:
        page.print("The value is null.")
        return
    page.print(copyable(report.value[:_SHOWN_CHARACTERS]))
    if (more := len(report.value) - _SHOWN_CHARACTERS) > 0:
        page.print(f"{more:,} more characters; --output FILE writes the whole value, byte for byte")


def _draw_redrive(page: Page, report: DeadLettersRedriveReport) -> None:
    names = ("place", "code", "outcome", "new command", "time")
    rows = [(row.place, row.code, status(row.outcome), row.new_place, row.times) for row in report.redrives]
    page.print(Table(names, rows, right=("time",), spare=("time", "code")))
    for warning in report.warnings:
        page.print(f"warning: {printable(warning)}")
    if not report.executed and any(row.outcome != "refused" for row in report.redrives):
        page.print("Nothing was published. To do it, add --execute --reason TEXT.")
