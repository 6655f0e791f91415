"""The answer that somebody on call looks for first: is every lane moving, and if not, what to do. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from worker.tools.common import servers
from worker.tools.common.lane_report import LATE, UNOWNED, LaneReport, LanesReport
from worker.tools.console.cached import FAILED, LastReport

Level = Literal["ok", "warning", "bad", "unknown"]
LATE_SECONDS = 60.0

SERVERS = {
    servers.KAFKA_AWAY: "Kafka is away",
    servers.POSTGRES_AWAY: "Postgres is away",
    servers.KAFKA_DENIES: "The console lacks a right in Kafka",
    servers.POSTGRES_DENIES: "The console lacks a right in Postgres",
    servers.TOPICS_MISSING: "Kafka lacks a topic",
    servers.SCHEMA_DIFFERS: "The database has another version's schema",
    FAILED: "The console has failed",
}
"""Titles for problems that make a report old or incomplete, by code."""


@dataclass(frozen=True, slots=True)
class LaneVerdict:
    """A state in a few words, with its lanes."""

    level: Level
    title: str
    text: str
    lanes: tuple[LaneReport, ...] = ()


def verdicts(known: LastReport[LanesReport], age: str) -> tuple[LaneVerdict, ...]:
    """The verdicts, worst first. If nothing is wrong, a single one says so.

    An old report gives no good verdict, and the first verdict says how old it is (`age`).
    """
    lanes = tuple(lane for lane in known.report.lanes if lane.state != "not-served") if known.report else ()
    away = [
        LaneVerdict("bad", SERVERS[problem.code], problem.text[:1].upper() + problem.text[1:])
        for problem in known.problems
        if problem.code in SERVERS
    ]
    troubles = [*_of_lanes(lanes), *away]
    troubles.sort(key=lambda verdict: ("bad", "warning").index(verdict.level))
    if known.report is None and not troubles:
        return (LaneVerdict("unknown", "Asking Kafka and Postgres", "They have not answered yet."),)
    if known.is_old:
        text = "This was wrong at the last look." if troubles else "Nothing was wrong at the last look."
        return (LaneVerdict("unknown", f"As of {age} ago, checking", text), *troubles)
    return tuple(troubles) or (_well(lanes),)


def _of_lanes(lanes: tuple[LaneReport, ...]) -> Iterable[LaneVerdict]:
    total = len(lanes)
    if halted := tuple(lane for lane in lanes if lane.state == "halted"):
        yield LaneVerdict(
            "bad", f"{_count(halted, total)} halted", "Halted lanes answer nothing until somebody acts.", halted
        )
    if unowned := tuple(lane for lane in lanes if lane.state != "halted" and lane.advice):
        yield LaneVerdict("bad", f"{_count(unowned, total)} without a worker", UNOWNED, unowned)
    # A lane that never ran but has a worker is about to be opened.
    taken = (lane for lane in lanes if lane.state in ("behind", "never-run") and not lane.advice)
    late = tuple(lane for lane in taken if (lane.lag_seconds or 0) > LATE_SECONDS)
    if late:
        text = f"The oldest command has waited for over a minute. {LATE}"
        yield LaneVerdict("warning", f"{_count(late, total)} late", text, late)


def _well(lanes: tuple[LaneReport, ...]) -> LaneVerdict:
    if not lanes:
        return LaneVerdict("unknown", "No lanes", "The command topic has no partitions.")
    if any(lane.state == "unknown" for lane in lanes):
        return LaneVerdict("unknown", "The state of the lanes is not known", "")
    if all(lane.member is None for lane in lanes):
        return LaneVerdict("warning", "No worker is running", "No command waits for one.")
    behind = sum(lane.state == "behind" or (lane.lag_records or 0) > 0 for lane in lanes)
    if len(lanes) > 1:
        title, who = f"All {len(lanes)} lanes are moving", f"{behind} of them {'has' if behind == 1 else 'have'}"
    else:
        title, who = "The lane is moving", "It has"
    return LaneVerdict("ok", title, f"{who} unanswered commands." if behind else "All commands are answered.")


def _count(lanes: tuple[LaneReport, ...], total: int) -> str:
    return f"{len(lanes)} of {total} lanes {'is' if len(lanes) == 1 else 'are'}"
