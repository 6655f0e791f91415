"""`deploy/monitoring/logs.md`: each line that the log can have, read from the calls in the code, with its meaning."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / "worker"
_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}

MEANINGS = {
    "assigned": "The group gave this worker partitions. Their number is `partitions`.",
    "background_task_ended": "A background task ended too early. The worker starts it again.",
    "batch_failed": "Postgres did not take a batch. The worker halves it, or tries it again.",
    "certificate_unreadable": "A certificate file cannot be read, so its expiry is unknown.",
    "clocks_differ": "Clocks differ by over an hour, so no old days are dropped. `postgres_ahead` and "
    "`newest_record_ahead` are seconds ahead of this worker's clock.",
    "companies_refused": "The list of companies changed that get only refusals, or whose refusals are over half of the "
    "hour's commands.",
    "console_failed": "The console failed; `exception` has the traceback.",
    "console_read": "Somebody read a page. `subject` is the issuer's id of the reader.",
    "database_is_another": "Postgres was replaced, restored or created again. All lanes open again.",
    "fencing_is_tried_again": "An earlier producer, which may have an open transaction, cannot be fenced yet.",
    "halted_lane_goes_on": "The positions of a halted lane fit again.",
    "halted_lanes_cannot_look": "Halted lanes cannot check whether their positions fit, since a server is away.",
    "housekeeping_failed": "Daily partitions could not be created or dropped. The worker tries again.",
    "jwks_changed": "The key server's keys have changed since the last read.",
    "jwks_not_kept": "The worker could not store a copy of the keys in Postgres.",
    "jwks_not_recalled": "The worker could not read the copy of the keys from Postgres.",
    "jwks_recalled": "The worker uses the copy of the keys until the key server answers.",
    "jwks_unavailable": "The worker could not read the keys of the key server.",
    "kafka_token_not_renewed": "The token endpoint gave no token. The worker uses the old one until it expires.",
    "lane_halted": "A lane answers nothing until somebody acts: [runbook](../runbook/PassportLaneHalted.md).",
    "lane_lost": "Another session holds the lane. This worker asks for the lane again after a while.",
    "lane_open": "A lane starts working at these positions.",
    "lane_reopens": "After a failure, the lane reads its positions again and reopens.",
    "lane_still_halted": "A halted lane has checked its positions again, and they still do not fit.",
    "lanes_cut_off": "Lanes did not end in time when the worker stopped or handed them over.",
    "lanes_opened_apart": "Results or batches of these lanes were refused, so each now works in a separate session.",
    "lanes_rejoin": "Lanes that worked in separate sessions rejoin the others.",
    "ledger_days_dropped": "The daily partitions of keys, ledger and dead letters for these days were dropped.",
    "ledger_emitted_again": "The worker published results that were decided but not visible yet, from `start` to below "
    "`stop`.",
    "lost_commits_cannot_be_looked_for": "Commits cannot be checked, since a server is away. Not written by default.",
    "membership_ended": "The worker left its group without being stopped, and joins again.",
    "record_refused": "A record failed repeatedly by its own fault. It became a dead letter.",
    "refusal": "One refused command, with the kind of its credentials and the beginning of the answer's body.",
    "refusals_not_logged": "The number of refusals within a second that got no line.",
    "results_cannot_be_read": "The worker reads results to find out how far lanes are, and a broker does not "
    "return them.",
    "server_is_away": "`Kafka` or `PostgreSQL` does not answer. One line per outage.",
    "server_is_back": "The server answers again.",
    "stopped": "The worker has stopped cleanly.",
    "traces_not_handed_over": "The collector did not accept the last spans before the worker stopped.",
    "turn": "A turn is committed in Postgres: per topic and partition, its first offset and the one after its last.",
    "unknown_setting": "An environment variable looks like a setting, but no setting has this name.",
    "unusual": "A check at the start found something unusual. The worker runs nevertheless.",
    "waiting_for_servers": "The worker cannot start yet, and tries again.",
}

_HEAD = """\
# Log events

Generated from the code by `python -m tests.monitoring`; do not edit. Each line is a JSON object with `event`, `level`
and `timestamp` (UTC, ISO 8601), and with the fields below. A field that does not apply is null or missing. Lines of
client libraries are warnings and errors, and have no further fields. Events keep their names and fields within a major
version; a minor version may add some.

| event | level | fields | meaning |
|---|---|---|---|
"""


@dataclass(frozen=True)
class LogEvent:
    """A call that writes a line."""

    name: str
    levels: frozenset[str]
    fields: tuple[str, ...]


class NotLiteral(Exception):
    """A call of a logger whose event or fields only show when it runs; the text says where."""


def events(root: Path = ROOT) -> dict[str, LogEvent]:
    """All events by name. Raises `NotLiteral`."""
    found: dict[str, LogEvent] = {}
    for path in sorted(root.rglob("*.py")):
        for event in _events(ast.parse(path.read_text(encoding="utf-8")), path.name):
            known = found.get(event.name, event)
            fields = tuple(dict.fromkeys((*known.fields, *event.fields)))
            found[event.name] = LogEvent(event.name, known.levels | event.levels, fields)
    return dict(sorted(found.items()))


def page() -> str:
    """The file."""
    return _HEAD + "".join(
        f"| `{event.name}` | {', '.join(sorted(event.levels))} | {', '.join(f'`{name}`' for name in event.fields)} "
        f"| {MEANINGS.get(event.name, '')} |\n"
        for event in events().values()
    )


def _events(module: ast.AST, file: str) -> Iterator[LogEvent]:
    called: set[int] = set()
    for call in (node for node in ast.walk(module) if isinstance(node, ast.Call)):
        methods = [node for node in _choices(call.func) if _is_of_a_logger(node)]
        if not methods:
            continue
        called.update(map(id, methods))
        name = call.args[0] if call.args else None
        fields = [keyword.arg for keyword in call.keywords]
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str) or None in fields:
            raise NotLiteral(f"{file}, line {call.lineno}: expected the event and its fields as literals")
        of_lane = ["topic", "partition"] if any(_is_bound_to_a_lane(method) for method in methods) else []
        exception = ["exception"] if any(method.attr == "exception" for method in methods) else []
        names = [*of_lane, *(field for field in fields if field), *exception]
        yield LogEvent(name.value, frozenset(_LEVELS[method.attr] for method in methods), tuple(names))
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and _is_of_a_logger(node) and id(node) not in called:
            raise NotLiteral(f"{file}, line {node.lineno}: expected a call of the logger's method")


def _choices(function: ast.expr) -> list[ast.Attribute]:
    """The methods that a call may call: `(log.warning if bad else log.info)(…)` has two."""
    choices = [function.body, function.orelse] if isinstance(function, ast.IfExp) else [function]
    return [choice for choice in choices if isinstance(choice, ast.Attribute)]


def _is_of_a_logger(node: ast.Attribute) -> bool:
    """`log.info`, `lane.log.info`: loggers are called `log` everywhere."""
    logger = node.value
    name = logger.id if isinstance(logger, ast.Name) else logger.attr if isinstance(logger, ast.Attribute) else ""
    return name == "log" and node.attr in _LEVELS


def _is_bound_to_a_lane(method: ast.Attribute) -> bool:
    """Only lanes keep a logger (`Lane.log`), which has their place."""
    return isinstance(method.value, ast.Attribute)
