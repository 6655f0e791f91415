"""Reports of lanes, as `lanes` makes them."""

from worker.tools.common.lane_report import LaneReport


def lane_report(partition: int, **values: object) -> LaneReport:
    """One that is in step, but for these values."""
    one = LaneReport(
        channel="",
        topic="t",
        partition=partition,
        applied=5,
        emitted=5,
        ledger_from=0,
        log_start=0,
        log_end=5,
        lag_records=0,
        lag_seconds=0.0,
        generation=1,
        member="m",
        host="h",
        state="in-step",
        advice=None,
    )
    return one.model_copy(update=values)
