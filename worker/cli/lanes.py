"""`passport-worker lanes`."""

from typing import NoReturn

from cyclopts import App
from rich.console import Console

from worker.cli.asking import AsJson, ask, examples
from worker.cli.output import show, table
from worker.operations.lanes import lanes as look_at_lanes
from worker.operations.reports import LanesReport

lanes = App(
    name="lanes",
    help_format="plaintext",
    help_epilogue=examples("lanes", "lanes --json | jq '.lanes[] | select(.state != \"in-step\")'"),
)


@lanes.default
def lanes_command(*, as_json: AsJson = False) -> NoReturn:
    """Where every lane stands: one per partition of the command topic.

    A is the next offset to decide (Postgres), E the next whose result is not visible (Kafka). Exit 1 where a lane is
    halted, or has commands and no worker.
    """
    report = ask(look_at_lanes)
    show(report, as_json=as_json, draw=lambda console: _draw_lanes(console, report))


def _draw_lanes(console: Console, report: LanesReport) -> None:
    columns = ("partition", "state", "A", "E", "log", "lag", "oldest", "member", "host")
    console.print(
        table(
            columns,
            [
                (
                    one.partition,
                    one.state,
                    one.applied,
                    one.emitted,
                    None if one.log_end is None else f"{one.log_start}-{one.log_end}",
                    one.lag_records,
                    None if one.lag_seconds is None else f"{one.lag_seconds:.1f} s",
                    one.member,
                    one.host,
                )
                for one in report.lanes
            ],
            right=("partition", "A", "E", "log", "lag", "oldest"),
        )
    )
