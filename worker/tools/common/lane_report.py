"""The report of lanes, for `lanes`, `doctor` and the console. Imports no Kafka, for the generator of schemas."""

from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report

# `lanes`, `doctor` and the console say these of the same lanes.
UNOWNED = "Commands wait, and no worker has the lane. Start one (`passport-worker run`)."
LATE = "Start more workers, up to one a lane; if they make no progress, see their logs."

LaneState = Literal["in-step", "behind", "unowned", "never-run", "halted", "not-served", "unknown"]


class LaneReport(Model):
    """A partition of the command topic, and what both servers know of it. Null stands for what is not known."""

    channel: str | None = Field(
        description="The topic's channel, empty for the default channel. Null: the topic has another name."
    )
    topic: str
    partition: int
    applied: int | None = Field(description="A: the next offset to decide, in Postgres.")
    emitted: int | None = Field(description="E: the next offset whose result is not visible, in Kafka.")
    ledger_from: int | None = Field(description="The offset from which on the ledger is complete.")
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
        """The lane within its group: `partition 3`, or `acme partition 3` where it is not of the default channel."""
        channel = self.topic if self.channel is None else self.channel
        return f"{channel} partition {self.partition}".lstrip()

    @property
    def short_name(self) -> str:
        """Where it is clear that lanes are meant: `3`, or `acme 3`."""
        return self.name.replace("partition ", "")


class LanesReport(Report):
    """`passport-worker lanes`: where every lane stands."""

    group: str
    lanes: tuple[LaneReport, ...]
