"""The report of lanes, for `lanes`, `doctor` and the console. Imports no Kafka, for the generator of schemas."""

from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report

# `lanes`, `doctor` and the console give this advice for the same lanes.
UNOWNED = "Commands wait, and no worker has the lane. Start one (`passport-worker run`)."
LATE = "Start more workers, up to one per lane; if they make no progress, see their logs."

LaneState = Literal["in-step", "behind", "unowned", "never-run", "halted", "not-served", "unknown"]


class LaneReport(Model):
    """A partition of the command topic, and what both servers know about it. Null: unknown."""

    channel: str | None = Field(
        description="The topic's channel, empty for the default channel. Null: the topic has another name."
    )
    topic: str
    partition: int
    applied: int | None = Field(description="A: the next offset to decide, in Postgres.")
    emitted: int | None = Field(description="E: the next offset whose result is not visible, in Kafka.")
    ledger_from: int | None = Field(description="The offset from which the ledger is complete.")
    log_start: int | None
    log_end: int | None
    lag_records: int | None = Field(description="Offsets from E to the end of the log.")
    lag_seconds: float | None = Field(description="Age of the record at E; 0 if no record waits.")
    generation: int | None = Field(description="The group's generation when the lane was opened last.")
    member: str | None = Field(description="The member to which the group has assigned the partition.")
    host: str | None = Field(description="The host from which that member connects.")
    state: LaneState = Field(
        description="not-served: the database has the lane, and no channel of the settings has its topic."
    )
    advice: str | None = Field(description="What to do; null if nothing is wrong.")

    @property
    def name(self) -> str:
        """The lane within its group: `partition 3`, or `acme partition 3` on another channel than the default."""
        channel = self.topic if self.channel is None else self.channel
        return f"{channel} partition {self.partition}".lstrip()

    @property
    def short_name(self) -> str:
        """The name in a text that is clearly about lanes: `3`, or `acme 3`."""
        return self.name.replace("partition ", "")


class LanesReport(Report):
    """`passport-worker lanes`: positions and state of every lane."""

    group: str
    lanes: tuple[LaneReport, ...]
