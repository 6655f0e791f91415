"""`passport-worker explain` where something has gone: commands, days of the ledger, results, single rows."""

from pathlib import Path

import pytest

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.integration.guards_helpers import expire
from tests.operations.explaining import answered_by, codes, drop_days, expire_results, told
from tests.outcomes import GOOD
from tests.workbench import Workbench
from worker.tools.common.address import PassportId

pytestmark = pytest.mark.real_kafka


async def test_a_command_that_has_expired_from_the_log(bench: Workbench, tmp_path: Path) -> None:
    """The ledger still tells its answer, and leads from a passport to its place."""
    await answered_by(bench, tmp_path / "worker.log", 12)
    passport = next(one for one in bench.results() if one.cause.endswith("/0/2")).body["_id"]
    await expire(bench, 4)
    for address in (PassportId(str(passport)), "0/2"):
        report = await told(bench, address)
        assert (report["ok"], report["state"], report["command"]) == (True, "answered", None)
        assert report["notes"] == ["The command has expired from the log, which begins at 4."]
        assert (report["place"]["offset"], report["outcome"]["code"]) == (2, "created")
        assert report["outcome"]["result"]["offset"] == 2
    bench.publish([bench.command(GOOD, 1, f"unread-{n}", partition=0) for n in range(3)])
    await expire(bench, 8)
    report = await told(bench, "0/7")
    assert (report["state"], codes(report)) == ("expired", ["expired"])
    assert report["notes"][0].endswith("before it was answered: the lane is at 6.")


async def test_a_day_that_was_dropped(bench: Workbench, tmp_path: Path) -> None:
    """The result tells the answer; once it has gone, too, the command alone is left; and then nothing."""
    await answered_by(bench, tmp_path / "worker.log", 12)
    await drop_days(bench)
    report = await told(bench, "0/2")
    assert (report["ok"], report["state"]) == (True, "answered")
    assert (report["outcome"]["code"], report["outcome"]["source"]) == ("created", "result")
    assert report["binding"] is None, "it went with its day"
    await expire_results(bench)
    report = await told(bench, "0/2")
    assert (report["ok"], report["state"], report["outcome"]) == (True, "dropped", None)
    assert "was dropped from the ledger with its day" in report["notes"][0]
    assert report["command"]["asked"]["serialNumber"] == "u4"
    await expire(bench, 6)
    report = await told(bench, "0/2")
    assert (report["state"], codes(report), report["command"]) == ("expired", ["expired"], None)


async def test_a_row_that_the_ledger_lacks_and_a_result_that_differs(bench: Workbench, tmp_path: Path) -> None:
    """Both cannot be: audit tells whether there are more."""
    await answered_by(bench, tmp_path / "worker.log", 6)
    connection = await bench.connect()
    await connection.execute("UPDATE ledger SET key = 'another' WHERE \"offset\" = 1")
    await connection.execute('DELETE FROM ledger WHERE "offset" = 2')
    await connection.close()
    assert codes(await told(bench, "0/1")) == ["result-differs"]
    report = await told(bench, "0/2")
    assert (report["ok"], report["outcome"]["source"]) == (True, "result")
    await expire_results(bench)
    assert codes(await told(bench, "0/2")) == ["missing"]
    gone = await told(bench, "0/0")
    assert (gone["ok"], gone["outcome"]["emitted"], gone["outcome"]["result"]) == (True, True, None)
    assert "retention of its topic may have deleted it" in gone["notes"][0]


async def test_a_result_among_repeats(bench: Workbench, tmp_path: Path) -> None:
    """Offsets were set back once: each result is there twice, and one of them is found."""
    await answered_by(bench, tmp_path / "worker.log", 40)
    commit_offset(bench, 0, 3)
    await answered_by(bench, tmp_path / "again.log", 20, start=40, repeated=17)
    causes = {(one.topic, one.partition, one.offset): one.cause for one in bench.results()}
    for offset in (0, 3, 10, 19, 20, 29):
        result = (await told(bench, f"0/{offset}"))["outcome"]["result"]
        assert causes[tuple(result.values())] == f"{bench.settings.topic_commands}/0/{offset}"
