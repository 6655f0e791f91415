"""Judges the positions of a lane: it may run if they fit together, and must halt if they contradict each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.store.port import Position, TopicIdentity
from worker.stream.cluster.offset_fetch_v7 import Committed

NEW_NAME = (
    "Use a new topic name (PASSPORT_TOPIC_COMMANDS), or a new channel (PASSPORT_CHANNELS): in a topic of the old name "
    "the places, event ids and positions of old commands would be used again."
)
_RECOVER = (
    "run `passport-worker lanes recover`. Never reset the offsets: the commands would be answered a second time, "
    "differently from the first."
)
_RESET = "`passport-worker lanes reset`"
_MAX_NAMED = 5


class Halt(Exception):
    """The positions contradict each other. The lane stops and never guesses; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Log:
    """The log of a lane's partition: its topic, its first offset, and the offset after its last record.

    `topic` is None if the brokers do not send topic ids.
    """

    topic: TopicIdentity | None
    first: int
    end: int


def why_commits_are_lost(
    committed: Mapping[tuple[str, int], Committed | None],
    applied: Mapping[tuple[str, int], int | None],
    published: Mapping[tuple[str, int], int | None] | None = None,
) -> str | None:
    """Say why no lane may run, and what to do, if results of any lane were published beyond its A.

    `published` is E of partitions without a committed offset, by their results. `applied` must be read after both; it
    is None or missing for lanes that Postgres does not know. The keys are topic and partition.
    """
    # An offset that a tool has set says nothing about results.
    emitted = {at: offset.offset for at, offset in committed.items() if offset is not None and offset.is_ours}
    # 0 means no result, and None results that the worker may not read. Neither shows lost commits.
    emitted |= {at: end for at, end in (published or {}).items() if end}
    lost = sorted(at for at, end in emitted.items() if (known := applied.get(at)) is None or end > known)
    if not lost:
        return None
    named = ", ".join(f"{at[0]}/{at[1]} (E={emitted[at]}, A={applied.get(at)})" for at in lost[:_MAX_NAMED])
    others = f" and {len(lost) - _MAX_NAMED} more" if len(lost) > _MAX_NAMED else ""
    return (
        "Postgres was restored from an older copy, or lost commits in a failover: results were published that it does "
        f"not know, of {named}{others}. Load the catalogue with its key revocations, then {_RECOVER}"
    )


def reason_to_halt(
    position: Position, emitted: int, log: Log, newest_result: int | None, lost_commits: str | None = None
) -> str | None:
    """Say why a lane must not run, and what to do. None if its positions fit together.

    `newest_result` is the offset of the newest command that has a result in the result topics; None if it is unknown.
    It matters only if E is beyond A. `lost_commits` says why no lane may run.
    """
    applied = position.applied
    at = f"E={emitted} (committed in Kafka), A={applied} (applied in Postgres)"
    # First, since E of another topic shows no lost commits: a recovery would write answers of another database.
    if (other := other_topic(position.topic, log.topic)) is not None:
        return f"{at}: {other}. {NEW_NAME}"
    if lost_commits is not None:
        return lost_commits
    if emitted > applied:
        return f"{at}: {_kafka_is_ahead(applied, newest_result)}"
    if emitted < position.ledger_from:
        return (
            f"{at}: answers below {position.ledger_from} were dropped from the ledger after its retention. Stop the "
            f"workers, reset the group's offset of this partition to {position.ledger_from} or later, up to {applied} "
            f"({_RESET}), and start them."
        )
    if log.first > applied:
        return (
            f"{at}: the log starts at {log.first}, so unread commands have expired. Publish commands {applied} to "
            f"{log.first - 1} again from their source, then stop the workers, let the lane go on at {log.first} "
            "(`passport-worker lanes reset --allow commands-expired`), and start them."
        )
    if log.end < applied:
        cause = "the topic was created again, or Kafka lost what it had acknowledged"
        return f"{at}: the log ends at {log.end}, so {cause}. {NEW_NAME}"
    return None


def reason_without_topic(topic: str) -> str:
    """Say why a lane whose topic has vanished must not run, and what to do."""
    return f"the topic {topic} does not exist any more. {NEW_NAME}"


def other_topic(own: TopicIdentity | None, current: TopicIdentity | None) -> str | None:
    """Say that a lane belongs to another topic or cluster than the present one. None if it does not, or is unknown."""
    if own is None or current is None or own == current:
        return None
    if current.cluster_id != own.cluster_id:
        return f"this is the cluster {current.cluster_id}, and the lane belongs to {own.cluster_id}"
    return f"the topic was created again: its id is {current.topic_id}, and the lane belongs to {own.topic_id}"


def _kafka_is_ahead(applied: int, newest_result: int | None) -> str:
    set_back = (
        f"stop the workers, reset the group's offset of this partition back to {applied} ({_RESET}), and start them"
    )
    if newest_result is None:
        return (
            f"Kafka is ahead, and no result could be seen that tells why. If somebody set the offset ahead by hand, "
            f"{set_back}. If Postgres was restored from an older copy or lost commits in a failover, {_RECOVER}"
        )
    if newest_result >= applied:
        return (
            f"results up to command {newest_result} are published, so Postgres was restored from an older copy or lost "
            f"commits in a failover: {_RECOVER}"
        )
    return f"no command from {applied} on has a result, so somebody set the offset ahead by hand: {set_back}."
