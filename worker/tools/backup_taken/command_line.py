"""`passport-worker backup-taken`: notes a backup in the journal, where `doctor` and the workers' metrics find it."""

import time
from datetime import UTC, datetime
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.domain.timestamps import format_time
from worker.store.backups import BACKUP_TAKEN
from worker.store.clocks import clock_ahead
from worker.tools.backup_taken.report import BackupTakenReport
from worker.tools.cli.asking import AuthorOptions, ask, examples
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import AsJson, show
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Author, operation
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import KEEP_OPERATIONS
from worker.tools.common.servers import Servers

app = App(
    name="backup-taken",
    help_epilogue=examples("backup-taken", "backup-taken --at 2026-05-09T02:00:00Z --by nightly-backup"),
)

_AT = Parameter(help="When the backup was begun (RFC 3339). Default: now.")
# The clocks of a backup job and of Postgres may differ by this much.
_SKEW_SECONDS = 60.0


@app.default
def backup_taken_command(
    *,
    at: Annotated[str | None, _AT] = None,
    authoring: AuthorOptions = AuthorOptions(),
    as_json: AsJson = False,
) -> NoReturn:
    """Note that the database was backed up. A backup job calls it after each backup that it has checked.

    `doctor` and an alert compare the newest backup with the retention of the topics: `lanes recover` needs their
    records from the backup on.
    """
    taken_at = None if at is None else timestamp("--at", at)
    author = authoring.author()
    report = ask(lambda servers: _note_backup(servers, taken_at, author))
    last = f"noted: a backup of {format_time(report.taken_at)}" if report.ok else None
    show(report, as_json=as_json, draw=lambda page, report: None, last=last)


async def _note_backup(servers: Servers, taken_at: datetime | None, author: Author) -> BackupTakenReport:
    """Note a backup that was taken at this time; None: now, by the clock of Postgres."""

    async def question(database: Inspection) -> BackupTakenReport | Problem:
        now = datetime.fromtimestamp(time.time() + await clock_ahead(database.connection), UTC)
        taken = taken_at or now
        # A time in the future would remain the newest backup until then, and hide that no other is taken.
        if (taken - now).total_seconds() > _SKEW_SECONDS:
            text = f"--at: expected a time that has passed, got {format_time(taken)}; Postgres has {format_time(now)}"
            return Problem(code="backup-in-future", text=text)
        arguments = {"takenAt": format_time(taken)}
        async with operation(database.connection, BACKUP_TAKEN, author, arguments) as begun:
            return BackupTakenReport(taken_at=taken, operation=str(begun.id))

    answer = await ask_database(servers, KEEP_OPERATIONS, question)
    if isinstance(answer, Problem):
        return BackupTakenReport(problems=(answer,), taken_at=taken_at or datetime.now(UTC), operation=None)
    return answer
