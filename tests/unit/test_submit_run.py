"""What becomes of a submission that fails, or whose credentials are refused."""

import asyncio
import json
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka.structs import RecordMetadata

from tests.unit.sheets import GTIN, HEAD, PRODUCT, table
from worker.messages.events import Event
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.tools.common.results import ResultRecord
from worker.tools.submit import run
from worker.tools.submit.answers_file import AnswersFile, CannotWrite, Reason
from worker.tools.submit.checking import check
from worker.tools.submit.command_batches import Delivery
from worker.tools.submit.headers import Bearer
from worker.tools.submit.options import Pace
from worker.tools.submit.table import Table


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
        submission = run.Submission(Settings(), Bearer("tp_secret"), Pace(), answers)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(sheet.head) + 10, before[1]))
        try:
            with pytest.raises(CannotWrite):
                await submission.run(sheet.rows(), asyncio.Event(), lambda: None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


Result = tuple[Kind, dict[str, object]]

CREATED: Result = (Kind.CREATED, {})
UNAUTHORIZED: Result = (Kind.REJECTED, {"status": 401, "error": "Unauthorized"})
FORBIDDEN: Result = (
    Kind.REJECTED,
    {"status": 403, "error": "Forbidden", "details": {"requiredScope": "passports:write"}},
)
NOT_FOUND: Result = (Kind.REJECTED, {"status": 404, "error": "Product not found"})


class _Broker:
    """A broker and a worker that answers the commands of a topic with one partition in turn; None is no answer."""

    def __init__(self, answers: Iterator[Result | None], topic: str) -> None:
        self._answers, self._topic = answers, topic
        self._results: list[ResultRecord] = []
        self.commands = 0

    async def start(self) -> Callable[[bytes], int]:
        """The partitioner."""
        return lambda key: 0

    async def publish(self, partition: int, commands: Sequence[Event]) -> list[Delivery]:
        """Append commands, and answer them."""
        first = self.commands
        for offset, (_, _, headers) in enumerate(commands, first):
            if (answer := next(self._answers)) is None:
                continue
            kind, body = answer
            key, cause = dict(headers)["idempotency-key"], f"{self._topic}/0/{offset}".encode()
            value = json.dumps(body).encode()
            self._results.append(ResultRecord(kind, "t", 0, offset, 0, key, value, [("ce_causationid", cause)]))
        self.commands += len(commands)
        acknowledged: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(RecordMetadata(self._topic, 0, None, first, 0, 0, 0))
        return [Delivery(len(commands), acknowledged)]

    async def poll(self) -> list[ResultRecord]:
        """All results that nobody has read."""
        await asyncio.sleep(0.005)
        results, self._results = self._results, []
        return results

    async def close(self) -> None:
        """At once."""


def _units(folder: Path, *serials: str) -> Table:
    return table(folder, f"{HEAD}\n" + "".join(f"{PRODUCT},{GTIN},{serial}\n" for serial in serials))


async def _run(
    sheet: Table, monkeypatch: pytest.MonkeyPatch, path: Path, *answers: Result | None, pace: Pace | None = None
) -> tuple[_Broker, AnswersFile]:
    settings = Settings()
    broker = _Broker(iter(answers), settings.topic_commands)
    monkeypatch.setattr(run, "ResultWatcher", lambda settings: broker)
    monkeypatch.setattr(run, "CommandBatches", lambda settings: broker)
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0.005)
    with AnswersFile(path, sheet) as file:
        check(sheet, file, lambda row: None)
        submission = run.Submission(settings, Bearer("tp_x"), pace or Pace(), file)
        await submission.run(sheet.rows(), asyncio.Event(), lambda: None)
    return broker, file


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([UNAUTHORIZED] * 20, r"the first 20 answers are all 401 Unauthorized, so .* does not know this API key"),
        ([FORBIDDEN] * 20, r"all 403 Forbidden: passports:write, so .* lacks the scope passports:write"),
        ([UNAUTHORIZED, FORBIDDEN] * 10, "all 401 Unauthorized or 403 Forbidden"),
    ],
)
async def test_refused_credentials_stop_it_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[Result], told: str
) -> None:
    """Twenty rows are sent and no more; no answers file remains, so the same command starts again."""
    sheet = _units(tmp_path, *(f"U{number}" for number in range(100)))
    with pytest.raises(run.Denied, match=told):
        await _run(sheet, monkeypatch, tmp_path / "answers", *answers)  # a command more would end the iterator
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("good", [CREATED, NOT_FOUND])
async def test_one_answer_to_good_credentials_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: Result
) -> None:
    """Then all answers are written, in order, and rows go at full speed."""
    sheet = _units(tmp_path, "", *(f"U{number}" for number in range(100)), "")
    answers = [*[UNAUTHORIZED] * 19, good, *[UNAUTHORIZED] * 80]
    broker, file = await _run(sheet, monkeypatch, tmp_path / "answers", *answers)
    assert (broker.commands, file.outcomes.total(), file.outcomes["invalid"]) == (100, 102, 2)
    assert file.reasons[Reason("rejected", "401", "Unauthorized")] == 99
    with AnswersFile(tmp_path / "answers", sheet) as again:
        assert check(sheet, again, lambda row: None).answered == 102
        assert again.reasons == file.reasons


async def test_an_end_before_the_credentials_are_proved_leaves_their_refusals_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever interrupts it and gives other credentials finds no row refused that was never asked for with these.

    Seen to fail: the same command went on behind the rows that had got 401.
    """
    sheet = _units(tmp_path, "", *(f"U{number}" for number in range(30)))

    with pytest.raises(run.NoAnswers):
        await _run(sheet, monkeypatch, tmp_path / "answers", *[UNAUTHORIZED] * 12, *[None] * 8, pace=Pace(patience=0.3))
    with AnswersFile(tmp_path / "answers", sheet) as again:
        assert check(sheet, again, lambda row: None).answered == 1


@pytest.mark.parametrize("rows", [1, 2, 19])
async def test_a_short_file_has_all_its_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Nothing is left to stop; bad rows between them do not hold it up."""
    sheet = _units(tmp_path, *(serial for number in range(rows) for serial in (f"U{number}", *[""] * number)))
    _, file = await _run(sheet, monkeypatch, tmp_path / "answers", *[UNAUTHORIZED] * rows)
    assert (file.outcomes["rejected"], file.outcomes["invalid"]) == (rows, rows * (rows - 1) // 2)
    assert file.reasons == {Reason("rejected", "401", "Unauthorized"): rows}


async def test_nothing_holds_the_answers_file_behind_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk is waited for: the next run finds the file without a lock."""
    sheet, path = _units(tmp_path, "U1"), tmp_path / "answers"

    def slow(number: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            copy = os.dup(number)  # as the kernel does: a file stays open for as long as a call uses it
            time.sleep(0.2)
            os.close(copy)

    monkeypatch.setattr(run, "_SYNC_SECONDS", 0)
    monkeypatch.setattr("os.fsync", slow)
    await _run(sheet, monkeypatch, path, CREATED)
    with AnswersFile(path, sheet) as answers:
        assert check(sheet, answers, lambda row: None).answered == 1
