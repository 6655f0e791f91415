"""`deploy/monitoring/logs.md`: each line that the log can have, read from the calls in the code, with its meaning."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / "worker"
_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}

MEANINGS = {
    "assigned": "The group gave this worker partitions. Their number is `partitions`.",
    "background_task_ended": "A task of the worker ended that should go on. The worker starts it again.",
    "batch_failed": "Postgres did not take a batch. The worker halves it, or tries it again.",
    "certificate_unreadable": "A certificate file cannot be read, so nobody knows when it expires.",
    "clocks_differ": "Clocks differ by over an hour, so no old days are dropped. `postgres_ahead` and "
    "`newest_record_ahead` are seconds ahead of this worker's clock.",
    "companies_refused": "Which companies get refusals only, or over half of the hour's commands as refusals, has "
    "changed.",
    "console_failed": "A fault of the console, with its traceback in `exception`.",
    "console_read": "Somebody read a page. `subject` is the issuer's id of the reader.",
    "database_is_another": "Postgres was replaced, restored or made anew. All lanes open again.",
    "fencing_is_tried_again": "A producer that may have a transaction open cannot be shut out yet.",
    "halted_lane_goes_on": "The positions of a halted lane fit again.",
    "halted_lanes_cannot_look": "Halted lanes cannot look whether their positions fit, since a server is away.",
    "housekeeping_failed": "Days could not be made ahead or dropped behind. The worker tries again.",
    "jwks_changed": "The key server has other keys than at the last read.",
    "jwks_not_kept": "Postgres did not take a copy of the keys.",
    "jwks_not_recalled": "Postgres did not give the copy of the keys.",
    "jwks_recalled": "The worker believes the copy of the keys until the key server answers.",
    "jwks_unavailable": "The key server did not give its keys.",
    "kafka_token_not_renewed": "The token endpoint gave no token. The worker goes on with the old one until it ends.",
    "lane_halted": "A lane stands still until somebody acts: [runbook](../runbook/PassportLaneHalted.md).",
    "lane_lost": "Another session holds the lane. This one asks for it again after a while.",
    "lane_open": "A lane begins to work at these positions.",
    "lane_reopens": "Something was in doubt, so the lane reads its positions again.",
    "lane_still_halted": "A halted lane has looked again.",
    "lanes_cut_off": "Lanes did not end in time while the worker stopped or gave them away.",
    "lanes_opened_apart": "Results or batches of these lanes were refused, so they work in a session of their own.",
    "lanes_rejoin": "Lanes that worked apart join the others again.",
    "ledger_days_dropped": "These days of keys, ledger and dead letters are over, and were dropped.",
    "ledger_emitted_again": "The worker published results that were decided and not visible, from `start` to below "
    "`stop`.",
    "lost_commits_cannot_be_looked_for": "A server is away. Not written by default.",
    "membership_ended": "The worker left its group although nobody stopped it, and joins again.",
    "record_refused": "A record failed again and again by its own fault. It became a dead letter.",
    "refusal": "One refused command, with the kind of its credentials and the beginning of the answer's body.",
    "refusals_not_logged": "So many refusals of a second got no line of their own.",
    "results_cannot_be_read": "Results are read to find out how far lanes are, and a broker does not give them.",
    "server_is_away": "`Kafka` or `PostgreSQL` does not answer. One line an outage.",
    "server_is_back": "The server answers again.",
    "stopped": "The worker has ended well.",
    "traces_not_handed_over": "The collector did not take the last spans before the worker stopped.",
    "turn": "A turn is in Postgres: by topic and partition the offsets from which and below which it went.",
    "unknown_setting": "A variable looks like a setting and is none.",
    "unusual": "A check before the start found something that is not wrong, with advice.",
    "waiting_for_servers": "The worker cannot start yet, and tries again.",
}

_HEAD = """\
# Log events

Made from the code by `python -m tests.monitoring`; do not edit. Each line is a JSON object with `event`, `level` and
`timestamp` (UTC, ISO 8601), and with the fields below. A field that does not apply is null or
missing. Lines of client libraries are warnings and errors, and have no further fields. Events keep their names and
fields within a major version; new ones may come.

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
