"""What becomes of a submission that fails while it has nothing left to wait for."""

import asyncio
import resource
from pathlib import Path

import pytest

from tests.unit.sheets import HEAD, table
from worker.settings import Settings
from worker.tools.cli.signals import Stop
from worker.tools.common.results import ResultRecord
from worker.tools.submit import run
from worker.tools.submit.answers_file import AnswersFile, CannotWrite
from worker.tools.submit.checking import check
from worker.tools.submit.headers import Bearer


class _Silent:
    """A broker that is asked for nothing: no row is sent."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nobody."""

    async def start(self) -> None:
        """At once."""

    async def poll(self) -> list[ResultRecord]:
        """Never anything."""
        await asyncio.sleep(0.01)
        return []

    async def close(self) -> None:
        """At once."""


@pytest.mark.parametrize("rows", [1, 3])
async def test_a_failure_at_the_very_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """The row whose answer could not be written has left the window, and so nothing is waited for any more."""
    monkeypatch.setattr(run, "ResultWatcher", _Silent)
    monkeypatch.setattr(run, "CommandBatches", _Silent)
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0)
    sheet = table(tmp_path, f"{HEAD}\n" + "x,,\n" * rows)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with AnswersFile(tmp_path / "answers", sheet) as answers:
        check(sheet, answers, lambda row: None)
        submission = run.Submission(Settings(), Bearer("tp_secret"), run.Pace(), answers)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(sheet.head) + 10, before[1]))
        try:
            with pytest.raises(CannotWrite):
                await submission.run(sheet.rows(), Stop(), lambda: None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
