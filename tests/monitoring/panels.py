"""What the Grafana dashboard shows: rows of panels, and the expressions that they draw."""

from collections.abc import Sequence
from dataclasses import dataclass

_LANE = '{topic=~"$topic"}'
_NAME = "{{partition}}"
_AT_A_LIMIT = '{answer!="created"}'


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how Grafana names its lines; `exemplar` shows traces on them."""

    expression: str
    legend: str = ""
    exemplar: bool = False


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


def _rate(name: str, by: str, matchers: str = "") -> str:
    return f"sum by ({by}) (rate({name}{matchers}[$__rate_interval]))"


def _quantiles(name: str, by: str = "") -> list[Query]:
    """The median and the 99th percentile, a line each for every value of `by`."""
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return [
        Query(f"histogram_quantile({share}, {_rate(f'{name}_bucket', labels)})", f"{legend}p{share * 100:.0f}", True)
        for share in (0.5, 0.99)
    ]


def _mean(name: str) -> str:
    return f"sum(rate({name}_sum[$__rate_interval])) / sum(rate({name}_count[$__rate_interval]))"


def _happened(name: str, by: str, matchers: str = "") -> str:
    return f"sum by ({by}) (increase({name}{matchers}[$__rate_interval]))"


def _by_lane(name: str) -> str:
    return f"max by (topic, partition) ({name}{_LANE})"


ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    (
        "Now",
        (
            Panel(
                "Oldest command",
                "s",
                [Query(f"max(passport_lane_lag_seconds{_LANE})")],
                kind="stat",
                width=5,
                red_from=300,
            ),
            Panel(
                "Commands behind",
                "short",
                [Query(f"sum({_by_lane('passport_lane_lag_records')})")],
                kind="stat",
                width=5,
            ),
            Panel(
                "Halted lanes",
                "short",
                [Query(f"sum({_by_lane('passport_lane_halted')})")],
                kind="stat",
                width=4,
                red_from=1,
            ),
            Panel("Workers", "short", [Query("count(passport_build_info)")], kind="stat", width=4),
            Panel(
                "Servers away",
                "short",
                [Query("1 - min by (server) (passport_server_up)", "{{server}}")],
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
                "Results by outcome", "ops", [Query(_rate("passport_outcomes_total", "outcome"), "{{outcome}}", True)]
            ),
            Panel(
                "Oldest command by lane",
                "s",
                [Query(_by_lane("passport_lane_lag_seconds"), _NAME)],
                "Age of the oldest command without a visible result, also while its lane is halted, lost or opening.",
            ),
            Panel("Commands behind by lane", "short", [Query(_by_lane("passport_lane_lag_records"), _NAME)]),
            Panel(
                "Delay of results",
                "s",
                _quantiles("passport_batch_delay_seconds"),
                "From the append of a batch's oldest command to its visible result.",
            ),
            Panel(
                "Delay of results, spread",
                "s",
                [Query(_rate("passport_batch_delay_seconds_bucket", "le"), "{{le}}")],
                kind="heatmap",
            ),
            Panel("Refusals by rule", "ops", [Query(_rate("passport_refusals_total", "reason"), "{{reason}}")]),
        ),
    ),
    (
        "Batches and Postgres",
        (
            Panel("Steps of a batch", "s", _quantiles("passport_batch_step_seconds", "step")),
            Panel(
                "Size of a batch",
                "short",
                [
                    Query(_mean("passport_batch_records"), "records a batch"),
                    Query(_mean("passport_transaction_records"), "records a transaction"),
                    Query(_mean("passport_transaction_lanes"), "lanes a transaction"),
                ],
                "It grows with the backlog, up to 2,000 records of all lanes.",
            ),
            Panel("Postgres transaction", "s", _quantiles("passport_transaction_seconds")),
            Panel(
                "Postgres time by step",
                "percentunit",
                [Query(_rate("passport_store_step_seconds_sum", "step"), "{{step}}")],
                "Share of a second that all workers spend on each step; decide is their own.",
            ),
            Panel("Steps in Postgres, p99", "s", _quantiles("passport_store_step_seconds", "step")[1:]),
            Panel(
                "CPU by worker",
                "percentunit",
                [Query("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{instance}}")],
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
                [Query(f"sum by (state) (passport_lane_state{_LANE})", "{{state}}")],
                "A partition that no worker has is in no state.",
            ),
            Panel("Halts", "short", [Query(_happened("passport_lane_halts_total", "partition", _LANE), _NAME)]),
            Panel(
                "Reopenings",
                "short",
                [Query(_happened("passport_lane_reopenings_total", "partition", _LANE), _NAME)],
                "After a doubt: a timeout, a lost answer, a server that went away.",
            ),
            Panel(
                "Answers emitted again",
                "short",
                [Query(_happened("passport_reemitted_total", "partition", _LANE), _NAME)],
                "From the ledger, after a crash or a replay.",
            ),
            Panel("Rebalances", "short", [Query(_happened("passport_rebalances_total", "instance"), "{{instance}}")]),
            Panel(
                "Partitions by worker",
                "short",
                [Query("sum by (instance) (passport_assigned_partitions)", "{{instance}}")],
            ),
        ),
    ),
    (
        "Dead letters and quotas",
        (
            Panel("Dead letters", "short", [Query(_happened("passport_dead_letters_total", "reason"), "{{reason}}")]),
            Panel(
                "Answers by plan",
                "ops",
                [Query(_rate("passport_plan_answers_total", "plan, answer"), "{{plan}} {{answer}}")],
            ),
            Panel(
                "Quota pressure by plan",
                "percentunit",
                [
                    Query(
                        _rate("passport_plan_answers_total", "plan", _AT_A_LIMIT)
                        + " / "
                        + _rate("passport_plan_answers_total", "plan"),
                        "{{plan}}",
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
                [Query("min(passport_ledger_ends_timestamp_seconds) - time()")],
                "Until the first day without a partition; two to three days when all is well.",
                kind="stat",
                width=6,
            ),
            Panel(
                "Certificates last for",
                "s",
                [
                    Query(
                        "min by (certificate) (passport_certificate_expires_timestamp_seconds) - time()",
                        "{{certificate}}",
                    )
                ],
                kind="stat",
                width=6,
            ),
            Panel(
                "Bad reads of OAuth keys",
                "short",
                [Query(_happened("passport_jwks_failures_total", "instance"), "{{instance}}")],
                width=6,
            ),
            Panel("Memory by worker", "bytes", [Query("process_resident_memory_bytes", "{{instance}}")], width=6),
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


def filled(expression: str, interval: str = "1m", topic: str = ".*") -> str:
    """An expression as Grafana sends it."""
    return expression.replace("$__rate_interval", interval).replace("$topic", topic)
