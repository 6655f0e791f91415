"""What the Grafana dashboard shows: rows of panels, and the expressions that they draw."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.monitoring.queries import (
    AT_A_LIMIT,
    LANE,
    Query,
    by,
    by_lane,
    each,
    happened,
    mean,
    of_workers,
    quantiles,
    rate,
    series,
)


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of a Grafana type; `unit` is one of Grafana's, `meaning` what a reader should know."""

    title: str
    unit: str
    queries: Sequence[Query]
    meaning: str = ""
    kind: str = "timeseries"
    width: int = 8
    red_from: float | None = None


ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    (
        "Now",
        (
            Panel(
                "Oldest command",
                "s",
                [Query(f"max {by()} ({series('passport_lane_lag_seconds', LANE)})", each())],
                kind="stat",
                width=5,
                red_from=300,
            ),
            Panel(
                "Commands behind",
                "short",
                [Query(f"sum {by()} ({by_lane('passport_lane_lag_records')})", each())],
                kind="stat",
                width=5,
            ),
            Panel(
                "Halted lanes",
                "short",
                [Query(f"sum {by()} ({by_lane('passport_lane_halted')})", each())],
                kind="stat",
                width=4,
                red_from=1,
            ),
            Panel(
                "Workers",
                "short",
                [Query(f"count {by()} ({series('passport_build_info')})", each())],
                kind="stat",
                width=4,
            ),
            Panel(
                "Servers away",
                "short",
                [Query(f"1 - min {by('server')} ({series('passport_server_up')})", each("server"))],
                "1 where any worker gets no answer.",
                kind="stat",
                width=6,
                red_from=1,
            ),
        ),
    ),
    (
        "Commands",
        (
            Panel(
                "Results by outcome",
                "ops",
                [Query(rate("passport_outcomes_total", "outcome"), each("outcome"), exemplar=True)],
            ),
            Panel(
                "Oldest command by lane",
                "s",
                [Query(by_lane("passport_lane_lag_seconds"), each("partition"))],
                "Age of the oldest command without a visible result, also while its lane is halted, lost or opening.",
            ),
            Panel("Commands behind by lane", "short", [Query(by_lane("passport_lane_lag_records"), each("partition"))]),
            Panel(
                "Delay of results",
                "s",
                quantiles("passport_batch_delay_seconds"),
                "From the append of a batch's oldest command to its visible result.",
            ),
            Panel(
                "Answered within 5 s",
                "percentunit",
                [Query(f"1 - {rate('passport_answers_late_total')} / {rate('passport_answers_total')}", each())],
                "The objective is 99.5 % in 30 days.",
            ),
            Panel(
                "Delay of results, spread",
                "s",
                [
                    Query(
                        f"sum by (le) (rate({series('passport_batch_delay_seconds_bucket')}[$__rate_interval]))",
                        "{{le}}",
                    )
                ],
                "The total of all chosen installations.",
                kind="heatmap",
            ),
            Panel("Refusals by rule", "ops", [Query(rate("passport_refusals_total", "reason"), each("reason"))]),
            Panel(
                "Refusals to one company",
                "percentunit",
                [Query(f"max {by()} ({series('passport_refusals_largest_company_share')})", each())],
                "The company that was refused most in the last hour: its refusals, as a share of all commands.",
            ),
            Panel(
                "Companies with only refusals",
                "short",
                [Query(f"max {by()} ({series('passport_companies_refused_entirely')})", each())],
                "Companies that had three commands or more in the last hour, all of them refused.",
            ),
        ),
    ),
    (
        "Batches and Postgres",
        (
            Panel("Steps of a batch", "s", quantiles("passport_batch_step_seconds", "step")),
            Panel(
                "Size of a batch",
                "short",
                [
                    Query(mean("passport_batch_records"), each(text="records a batch")),
                    Query(mean("passport_transaction_records"), each(text="records a transaction")),
                    Query(mean("passport_transaction_lanes"), each(text="lanes a transaction")),
                ],
                "It grows with the backlog, up to 2,000 records of all lanes.",
            ),
            Panel("Postgres transaction", "s", quantiles("passport_transaction_seconds")),
            Panel(
                "Postgres time by step",
                "percentunit",
                [Query(rate("passport_store_step_seconds_sum", "step"), each("step"))],
                "Share of a second that all workers spend on each step; only decide runs in the worker.",
            ),
            Panel("Steps in Postgres, p99", "s", quantiles("passport_store_step_seconds", "step")[1:]),
            Panel(
                "CPU by worker",
                "percentunit",
                [Query(of_workers(rate("process_cpu_seconds_total", "instance")), each("instance"))],
                "One process uses one core: at 1, start another.",
            ),
        ),
    ),
    (
        "Lanes and the group",
        (
            Panel(
                "Lanes by state",
                "short",
                [Query(f"sum {by('state')} ({series('passport_lane_state', LANE)})", each("state"))],
                "A partition that no worker has is missing here.",
            ),
            Panel(
                "Halts",
                "short",
                [Query(happened("passport_lane_halts_total", "partition", matchers=LANE), each("partition"))],
            ),
            Panel(
                "Reopenings",
                "short",
                [Query(happened("passport_lane_reopenings_total", "partition", matchers=LANE), each("partition"))],
                "After a failure: a timeout, a lost answer, a server that went away.",
            ),
            Panel(
                "Answers emitted again",
                "short",
                [Query(happened("passport_reemitted_total", "partition", matchers=LANE), each("partition"))],
                "From the ledger, after a crash or a replay.",
            ),
            Panel("Rebalances", "short", [Query(happened("passport_rebalances_total", "instance"), each("instance"))]),
            Panel(
                "Partitions by worker",
                "short",
                [Query(f"sum {by('instance')} ({series('passport_assigned_partitions')})", each("instance"))],
            ),
        ),
    ),
    (
        "Dead letters and quotas",
        (
            Panel("Dead letters", "short", [Query(happened("passport_dead_letters_total", "reason"), each("reason"))]),
            Panel(
                "Answers by plan",
                "ops",
                [Query(rate("passport_plan_answers_total", "plan", "answer"), each("plan", "answer"))],
            ),
            Panel(
                "Quota pressure by plan",
                "percentunit",
                [
                    Query(
                        rate("passport_plan_answers_total", "plan", matchers=AT_A_LIMIT)
                        + " / "
                        + rate("passport_plan_answers_total", "plan"),
                        each("plan"),
                    )
                ],
                "Share of the answers that a limit of the plan turned into a charge or a refusal.",
            ),
        ),
    ),
    (
        "What ends one day",
        (
            Panel(
                "Ledger lasts for",
                "s",
                [Query(f"min {by()} ({series('passport_ledger_ends_timestamp_seconds')}) - time()", each())],
                "Until the first day that keys, ledger or dead letters lack a partition; two to three days usually.",
                kind="stat",
                width=6,
            ),
            Panel(
                "Certificates last for",
                "s",
                [
                    Query(
                        f"min {by('certificate')} ({series('passport_certificate_expires_timestamp_seconds')})"
                        " - time()",
                        each("certificate"),
                    )
                ],
                kind="stat",
                width=6,
            ),
            Panel(
                "Bad reads of OAuth keys",
                "short",
                [Query(happened("passport_jwks_failures_total", "instance"), each("instance"))],
                width=6,
            ),
            Panel(
                "Memory by worker",
                "bytes",
                [Query(of_workers(series("process_resident_memory_bytes")), each("instance"))],
                width=6,
            ),
        ),
    ),
)


def expressions() -> list[str]:
    """Every expression of the dashboard, with Grafana's variables in it."""
    return [query.expression for _, panels in ROWS for panel in panels for query in panel.queries]


def expression(title: str, place: int = 0) -> str:
    """An expression of the panel of that title."""
    found = {panel.title: panel for _, panels in ROWS for panel in panels}
    return found[title].queries[place].expression
