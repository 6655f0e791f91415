"""`passport-worker backup-taken`."""

from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.domain.timestamps import format_time
from worker.tools.backup_taken.backup_taken import note_backup
from worker.tools.cli.asking import AsJson, AuthorOptions, ask, examples
from worker.tools.cli.options import timestamp
from worker.tools.cli.output import show

app = App(
    name="backup-taken",
    help_epilogue=examples("backup-taken", "backup-taken --at 2026-05-09T02:00:00Z --by nightly-backup"),
)

_AT = Parameter(help="When the backup was begun (RFC 3339). Default: now.")


@app.default
def backup_taken_command(
    *,
    at: Annotated[str | None, _AT] = None,
    authoring: AuthorOptions = AuthorOptions(),  # noqa: B008 - frozen
    as_json: AsJson = False,
) -> NoReturn:
    """Note that the database was backed up. A backup job calls it after each backup that it has checked.

    `doctor` and an alert compare the newest backup with the retention of the topics: `lanes recover` needs their
    records from the backup on.
    """
    taken_at = None if at is None else timestamp("--at", at)
    author = authoring.author()
    report = ask(lambda servers: note_backup(servers, taken_at, author))
    last = f"noted: a backup of {format_time(report.taken_at)}" if report.ok else None
    show(report, as_json=as_json, draw=lambda page: None, last=last)
