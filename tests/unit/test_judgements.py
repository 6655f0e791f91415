"""What `doctor` makes of what it is told: a table for what no test can make happen on a shared server."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from tests.unit.lane_reports import lane_report
from worker.messages.hints import CheckResult
from worker.store.clocks import AGREED_SECONDS
from worker.store.postgres import SESSION_SETTINGS
from worker.stream.cluster.topic_settings import ExistingTopic, TopicShape
from worker.tools.common.inspection import OpenOperation
from worker.tools.common.lane_report import LaneReport, LanesReport
from worker.tools.common.open_transactions import OpenTransaction
from worker.tools.doctor import judgements
from worker.tools.doctor.protection import Protection, Way
from worker.tools.doctor.server_state import LockHolder, ServerState

STATE = ServerState("18.1", 18, False, "on", "on", "on", False, 40)
NOW = datetime(2026, 5, 9, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def _of_lanes(*lanes: LaneReport) -> dict[str, CheckResult]:
    return {one.id: one for one in judgements.of_lanes(LanesReport(group="g", lanes=lanes))}


def _keeping(days: float, **settings: str) -> ExistingTopic:
    return ExistingTopic(TopicShape(1, 1), {"retention.ms": str(round(days * DAY * 1000)), **settings})


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (judgements.of_version(STATE), "ok"),
        (judgements.of_version(replace(STATE, version="14.9", major=14)), "failed"),
        (judgements.of_durability(STATE), "ok"),
        (judgements.of_durability(replace(STATE, synchronous_commit="remote_apply", has_standbys=True)), "ok"),
        (judgements.of_durability(replace(STATE, synchronous_commit="local")), "ok"),
        (judgements.of_durability(replace(STATE, synchronous_commit="local", has_standbys=True)), "warning"),
        (judgements.of_durability(replace(STATE, synchronous_commit="remote_write", has_standbys=True)), "warning"),
        (judgements.of_durability(replace(STATE, synchronous_commit="off")), "failed"),
        (judgements.of_durability(replace(STATE, fsync="off")), "failed"),
        (judgements.of_durability(replace(STATE, full_page_writes="off")), "failed"),
        *(
            (judgements.of_protection("postgres.tls", Protection(way, *bare), "Do so."), status)
            for way, status in ((Way.SOCKET, "ok"), (Way.LOOPBACK, "warning"), (Way.NETWORK, "failed"))
            for bare in ((False, False), (True, False))
        ),
        *((judgements.of_protection("kafka.tls", Protection(way, True, True), "Do so."), "ok") for way in Way),
        (judgements.of_primary(STATE), "ok"),
        (judgements.of_primary(replace(STATE, in_recovery=True)), "failed"),
        (judgements.of_connections(STATE, 40), "ok"),
        (judgements.of_connections(STATE, 41), "warning"),
        (judgements.of_locks([]), "ok"),
        (judgements.of_locks([LockHolder(4711, None, "", None, None, None, 2)]), "failed"),
        (judgements.of_locks([LockHolder(None, None, None, None, None, None, 1)]), "failed"),
        (judgements.of_open_transactions([], NOW), "ok"),
        (judgements.of_open_transactions([OpenTransaction("t", 0, 7, int((NOW - 960) * 1000))], NOW), "ok"),
        (judgements.of_open_transactions([OpenTransaction("t", 0, 7, int((NOW - 961) * 1000))], NOW), "failed"),
        (judgements.of_postgres_clock(4.9), "ok"),
        (judgements.of_postgres_clock(-5.1), "warning"),
        (judgements.of_postgres_clock(-61), "failed"),
        (judgements.of_log_clock(None), "skipped"),
        (judgements.of_log_clock(-301), "skipped"),
        (judgements.of_log_clock(-299), "ok"),
        (judgements.of_log_clock(5.1), "warning"),
        (judgements.of_log_clock(61), "failed"),
        (judgements.of_days_ahead(NOW + DAY, NOW), "ok"),
        (judgements.of_days_ahead(NOW + DAY - 1, NOW), "warning"),
        (judgements.of_days_ahead(NOW, NOW), "failed"),
        (judgements.of_old_days([], 8), "ok"),
        (judgements.of_old_days([date(2026, 4, 1)], 8), "warning"),
        (judgements.of_backup(None, {}, NOW), "skipped"),
        (judgements.of_backup(NOW - 3.5 * DAY, {"a": _keeping(7), "b": _keeping(8)}, NOW), "ok"),
        (judgements.of_backup(NOW - 3.6 * DAY, {"a": _keeping(7), "b": _keeping(8)}, NOW), "warning"),
        (judgements.of_backup(NOW - 7 * DAY, {"a": _keeping(7), "b": _keeping(8)}, NOW), "failed"),
        (
            judgements.of_backup(NOW - 999 * DAY, {"a": _keeping(-1), "b": ExistingTopic(TopicShape(1, 1), {})}, NOW),
            "ok",
        ),
        (judgements.of_backup(NOW, {"a": _keeping(7, **{"retention.bytes": "1000000"})}, NOW), "warning"),
        (judgements.of_signing_keys([]), "ok"),
        (judgements.of_signing_keys(["6650a0b1c2d3e4f5a6b7c8d9"]), "warning"),
        (judgements.of_keys(1), "ok"),
        (judgements.of_keys(0), "failed"),
        (judgements.of_certificate("ca", "X", NOW + 30 * DAY, NOW), "ok"),
        (judgements.of_certificate("ca", "X", NOW + 30 * DAY - 1, NOW), "warning"),
        (judgements.of_certificate("client", "X", NOW, NOW), "failed"),
        (judgements.of_certificate("database-ca", "X", NOW + 5 * DAY, NOW), "ok"),
        (judgements.of_certificate("database-ca", "X", NOW + 5 * DAY - 1, NOW), "warning"),
        (judgements.of_operations([]), "ok"),
    ],
    ids=lambda value: str(value) if isinstance(value, CheckResult) else value,
)
def test_each_bound(found: CheckResult, status: str) -> None:
    """On both of its sides; whoever is told that something is wrong is told what to do."""
    assert found.status == status
    assert bool(found.advice) is (status in ("warning", "failed")) or found.id == "backup.newest"
    assert not found.finding.endswith(".")
    assert status == "skipped" or "expected" in found.finding


@pytest.mark.parametrize("found", [judgements.of_postgres_clock, judgements.of_log_clock])
def test_clocks_that_differ_by_an_hour_keep_old_days(found: Callable[[float], CheckResult]) -> None:
    """As housekeeping has it; below, the days go as ever."""
    told = "Workers drop no old days while clocks differ by more than an hour."
    assert told in found(AGREED_SECONDS + 1).advice
    assert told not in found(AGREED_SECONDS).advice


def test_whoever_keeps_a_worker_waiting_is_found_before_it_gives_up() -> None:
    """Seen to fail with 10 s, which is when a worker's wait ends and begins again."""
    assert SESSION_SETTINGS["lock_timeout"] == "10s"
    assert judgements.LOCK_SECONDS < 10 / 2


def test_lanes_in_step_are_well() -> None:
    """And those that never ran, while nothing waits in them."""
    found = _of_lanes(lane_report(0), lane_report(1, member=None, state="never-run"))
    assert {one.status for one in found.values()} == {"ok"}
    assert found["lanes.unowned"].finding == "lanes without a worker: 1 of 2, expected none"


def test_lanes_are_named_by_their_channel_and_need_no_worker_once_it_went() -> None:
    """A lane that nobody serves any more is no error, whatever the database has of it."""
    waiting = {"state": "unowned", "member": None, "lag_records": 2}
    lanes = (lane_report(3, **waiting), lane_report(3, channel="acme", topic="acme.t", **waiting))
    gone = lane_report(0, channel="gone", topic="gone.t", state="not-served", member=None, lag_records=None)
    finding = _of_lanes(*lanes, gone)["lanes.unowned"].finding
    assert finding.endswith("2 of 2, expected none: partition 3 has 2 waiting; acme partition 3 has 2 waiting")
    assert {one.status for one in _of_lanes(lane_report(0), gone).values()} == {"ok"}
    assert lane_report(1, channel=None, topic="old").name == "old partition 1"


@pytest.mark.parametrize(
    ("lane", "id", "status"),
    [
        (lane_report(0, state="halted", lag_records=-4, advice="Because."), "lanes.halted", "failed"),
        (lane_report(0, state="behind", lag_records=9, lag_seconds=300.1), "lanes.lag", "warning"),
        (lane_report(0, state="unowned", member=None), "lanes.unowned", "warning"),
        (lane_report(0, state="unowned", member=None, lag_records=1), "lanes.unowned", "failed"),
        (lane_report(0, state="never-run", member=None, lag_records=1), "lanes.unowned", "failed"),
    ],
    ids=lambda value: f"{value.state} {value.lag_records}" if isinstance(value, LaneReport) else value,
)
def test_lanes_that_are_not_well(lane: LaneReport, id: str, status: str) -> None:
    """Each is a finding of one check alone."""
    found = _of_lanes(lane, lane_report(1))
    assert {one.id: one.status for one in found.values() if one.status != "ok"} == {id: status}


def test_many_are_told_by_the_first_five() -> None:
    """A line stays a line."""
    begun = datetime(2026, 5, 9, tzinfo=UTC) - timedelta(days=1)
    many = [OpenOperation(UUID(int=n), "replay", "ann@box", begun) for n in range(7)]
    found = judgements.of_operations(many)
    assert found.status == "warning"
    assert found.finding.startswith("operations begun over an hour ago and not ended: 7, expected none: replay 0000")
    assert found.finding.endswith("of ann@box, begun 2026-05-08 00:00 UTC; and 2 more")
