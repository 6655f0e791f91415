"""`passport-worker backup-taken`: notes a backup in the journal, where `doctor` and the workers' metrics find it."""

import time
from datetime import UTC, datetime

from worker.domain.timestamps import format_time
from worker.store.backups import BACKUP_TAKEN
from worker.store.clocks import clock_ahead
from worker.tools.backup_taken.report import BackupTakenReport
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Author, operation
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import KEEP_OPERATIONS
from worker.tools.common.servers import Servers

# Clocks of a backup job and of Postgres may differ by so many seconds.
_SKEW_SECONDS = 60.0


async def note_backup(servers: Servers, taken_at: datetime | None, author: Author) -> BackupTakenReport:
    """Note a backup that was taken at this time; None: now, by the clock of Postgres."""

    async def question(database: Inspection) -> BackupTakenReport | Problem:
        now = datetime.fromtimestamp(time.time() + await clock_ahead(database.connection), UTC)
        taken = taken_at or now
        if (taken - now).total_seconds() > _SKEW_SECONDS:
            text = f"--at: expected a time that has passed, got {format_time(taken)}; Postgres has {format_time(now)}"
            return Problem(code="backup-in-future", text=text)
        arguments = {"takenAt": format_time(taken)}
        async with operation(database.connection, BACKUP_TAKEN, author, arguments) as kept:
            return BackupTakenReport(taken_at=taken, operation=str(kept.id))

    answer = await ask_database(servers, KEEP_OPERATIONS, question)
    if isinstance(answer, Problem):
        return BackupTakenReport(problems=(answer,), taken_at=taken_at or datetime.now(UTC), operation=None)
    return answer
