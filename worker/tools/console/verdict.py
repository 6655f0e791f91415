"""What somebody on call wants to know first: is every lane moving, and if not, what to do. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from worker.tools.common.checked import SCHEMA_DIFFERS
from worker.tools.common.lane_report import LaneReport, LanesReport
from worker.tools.common.servers import KAFKA_AWAY, KAFKA_DENIES, POSTGRES_AWAY, POSTGRES_DENIES
from worker.tools.console.sources import FAILED, Known

Level = Literal["ok", "warning", "bad", "unknown"]
LATE_SECONDS = 60.0

SERVERS = {
    KAFKA_AWAY: "Kafka is away",
    POSTGRES_AWAY: "Postgres is away",
    KAFKA_DENIES: "Kafka denies us something",
    POSTGRES_DENIES: "Postgres denies us something",
    SCHEMA_DIFFERS: "The database's schema is of another version",
    FAILED: "The console has failed",
}
"""By codes of problems for which a report is old, or tells less."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """In a few words, with the lanes that it is about."""

    level: Level
    title: str
    text: str
    lanes: tuple[LaneReport, ...] = ()


def verdicts(known: Known[LanesReport]) -> tuple[Verdict, ...]:
    """The worst first; one that all is well, where nothing is wrong."""
    lanes = known.report.lanes if known.report else ()
    found = [*_of_lanes(lanes), *_of_servers(known)]
    if found:
        return tuple(sorted(found, key=lambda one: ("bad", "warning").index(one.level)))
    if known.report is None:
        return (Verdict("unknown", "Asking Kafka and Postgres", "They have not answered yet."),)
    return (_well(lanes),)


def _of_servers(known: Known[LanesReport]) -> Iterable[Verdict]:
    for one in known.problems:
        if one.code in SERVERS:
            yield Verdict("bad", SERVERS[one.code], one.text[:1].upper() + one.text[1:])


def _of_lanes(lanes: tuple[LaneReport, ...]) -> Iterable[Verdict]:
    total = len(lanes)
    if halted := tuple(one for one in lanes if one.state == "halted"):
        yield Verdict(
            "bad", f"{_count(halted, total)} halted", "Halted lanes answer nothing until somebody acts.", halted
        )
    if unowned := tuple(one for one in lanes if one.state != "halted" and one.advice):
        text = "Commands wait, and nobody has these lanes: start a worker (passport-worker run)."
        yield Verdict("bad", f"{_count(unowned, total)} without a worker", text, unowned)
    late = tuple(one for one in lanes if one.state == "behind" and (one.lag_seconds or 0) > LATE_SECONDS)
    if late:
        text = "Their oldest command has waited for over a minute: more workers may help, up to one a lane."
        yield Verdict("warning", f"{_count(late, total)} late", text, late)


def _well(lanes: tuple[LaneReport, ...]) -> Verdict:
    if not lanes:
        return Verdict("unknown", "No lanes", "The command topic has no partitions.")
    if any(one.state == "unknown" for one in lanes):
        return Verdict("unknown", "It is not known how lanes stand", "")
    if all(one.member is None for one in lanes):
        return Verdict("warning", "No worker is running", "Nothing waits for one.")
    behind = sum(one.state == "behind" for one in lanes)
    text = f"{behind} of them have commands in hand." if behind else "All commands are answered."
    return Verdict("ok", f"All {len(lanes)} lanes are moving" if len(lanes) > 1 else "The lane is moving", text)


def _count(lanes: tuple[LaneReport, ...], total: int) -> str:
    return f"{len(lanes)} of {total} lanes {'is' if len(lanes) == 1 else 'are'}"
