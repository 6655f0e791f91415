"""Checks a table, or sends it. Both make a report."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from worker.settings import Settings
from worker.stream.cluster.connection import CLUSTER_ERRORS, explain
from worker.tools.cli.progress import Display, display
from worker.tools.cli.running import obey, run_async
from worker.tools.common.acls import is_denied, submitting_acls
from worker.tools.common.prerequisites import lacking
from worker.tools.common.report import Problem, json_safe
from worker.tools.common.servers import KAFKA_AWAY, KAFKA_DENIES
from worker.tools.submit.advice import DENIED, about_credentials
from worker.tools.submit.answers_file import AnswersFile, CannotWrite
from worker.tools.submit.checking import check
from worker.tools.submit.drawing import rows_of
from worker.tools.submit.duplicates import Duplicates
from worker.tools.submit.faults import Faults
from worker.tools.submit.headers import Credentials
from worker.tools.submit.options import Pace
from worker.tools.submit.report import BAD_ROWS, DUPLICATES, REFUSED, RefusalReason, SubmitReport
from worker.tools.submit.run import Denied, NoAnswers, Submission
from worker.tools.submit.table import GOOD, OUTCOMES, Changed, Row, Table

GO_ON = "the same command continues from there"

_CODES: Mapping[type[Exception], str] = {NoAnswers: "no-answers", CannotWrite: "cannot-write", Changed: "file-changed"}
_SHOW_ROWS = 1_000
_RATE_SECONDS = 5.0
"""The shown rate is for the last few seconds."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file to submit, and how."""

    file: Path
    table: Table
    settings: Settings
    credentials: Credentials
    pace: Pace
    skip_bad: bool


def dry_run_of(file: Path, table: Table) -> SubmitReport:
    """Check all rows, and look for duplicates."""
    faults, duplicates = Faults(), Duplicates()
    with display() as shown:
        checked = check(table, None, _noting(shown, faults, duplicates))
        repeats, conflicts = duplicates.find(table)
    problems = []
    if checked.bad:
        problems.append(Problem(code=BAD_ROWS, text=f"{rows_of(checked.bad)} would be refused."))
    if conflicts:
        problems.append(Problem(code=DUPLICATES, text=f"{rows_of(conflicts)} would conflict with an earlier row."))
    return SubmitReport(
        problems=tuple(problems),
        file=json_safe(str(file)),
        dry_run=True,
        rows=checked.rows,
        bad=checked.bad,
        faults=tuple(faults.groups()),
        other_faults=faults.others,
        duplicates=tuple(repeats.groups()),
    )


def submit(job: Job, answers: AnswersFile) -> SubmitReport:
    """Check all rows, and send those that have no answer yet."""
    faults, problem = Faults(), None
    with display() as shown:
        checked = check(job.table, answers, _noting(shown, faults))
        if checked.bad and not job.skip_bad:
            problem = Problem(code=BAD_ROWS, text=f"{rows_of(checked.bad)} would be refused; nothing was sent.")
        elif checked.answered < checked.rows:
            problem = _send(job, answers, checked.answered, checked.rows, shown)
    answered = answers.outcomes.total()
    if problem is None and (left := checked.rows - answered):
        problem = Problem(code="interrupted", text=f"interrupted: {rows_of(left)} without an answer; {GO_ON}")
    if problem is None and (refused := answered - sum(answers.outcomes[outcome] for outcome in GOOD)):
        problem = Problem(code=REFUSED, text=f"{rows_of(refused)} got no passport.")
    return SubmitReport(
        problems=() if problem is None else (problem,),
        file=json_safe(str(job.file)),
        dry_run=False,
        rows=checked.rows,
        bad=checked.bad,
        faults=tuple(faults.groups()),
        other_faults=faults.others,
        answered_earlier=checked.answered,
        answered=answered - checked.answered,
        unanswered=checked.rows - answered,
        outcomes=dict(answers.outcomes),
        reasons=tuple(RefusalReason(**reason._asdict(), rows=rows) for reason, rows in answers.reasons.most_common()),
        advice=next((about_credentials(reason.error) for reason in answers.reasons if reason.status in DENIED), ""),
    )


def _send(job: Job, answers: AnswersFile, first: int, rows: int, shown: Display) -> Problem | None:
    """Send the rows from index `first` on. Returns the problem that ended it early."""
    settings, stop = job.settings, asyncio.Event()
    seen: deque[tuple[float, int]] = deque()

    def show_progress() -> None:
        now, done = time.monotonic(), answers.outcomes.total()
        seen.append((now, done))
        while len(seen) > 2 and seen[0][0] < now - _RATE_SECONDS:
            seen.popleft()
        began, done_then = seen[0]
        rate = (done - done_then) / (now - began) if now > began else 0.0
        counts = ", ".join(f"{answers.outcomes[name]:,} {name}" for name in OUTCOMES if answers.outcomes[name])
        shown.show("answered", done, rows, f"{rate:,.0f}/s  {counts}")

    async def send() -> Problem | None:
        obey(stop)  # the first signal stops sending, the second one cancels
        if (finding := await lacking(settings, submitting_acls(settings))) is not None:
            return Problem(code=finding.id, text=str(finding))
        submission = Submission(settings, job.credentials, job.pace, answers)
        await submission.run(islice(job.table.rows(), first, None), stop, show_progress)
        return None

    try:
        return run_async(send)
    except Denied as error:
        text = f"{error} Then repeat the same command: it sends these rows again, since their answers were not written."
        return Problem(code="credentials-refused", text=text)
    except (NoAnswers, CannotWrite, Changed) as error:
        return Problem(code=_CODES[type(error)], text=f"{error}; {GO_ON}")
    except CLUSTER_ERRORS as error:
        code = KAFKA_DENIES if is_denied(error) else KAFKA_AWAY
        return Problem(code=code, text=f"{explain(error, settings).rstrip('.')}; {GO_ON}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Problem(code="interrupted", text=f"interrupted; {GO_ON}")


def _noting(shown: Display, faults: Faults, duplicates: Duplicates | None = None) -> Callable[[Row], None]:
    """Return a function that notes each checked row, and shows the progress of the check."""
    rows = 0

    def note(row: Row) -> None:
        nonlocal rows
        rows += 1
        if rows % _SHOW_ROWS == 0:
            shown.show("checking rows", rows, None)
        for fault in row.faults:
            faults.add(row.number, row.line, fault)
        if duplicates is not None:
            duplicates.add(row)

    return note
