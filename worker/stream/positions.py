"""What the positions of a lane say when it opens: go on, emit again, or halt (protocol section 3, open 5)."""

from worker.store.port import Position


class Halt(Exception):
    """The positions contradict each other. The lane stops and never guesses; the text says what to do."""


def reason_to_halt(position: Position, emitted: int, first: int, end: int) -> str | None:
    """Why a lane must not run, and what to do about it; None when the positions fit together."""
    applied = position.applied
    at = f"E={emitted} (committed in Kafka), A={applied} (applied in Postgres)"
    if emitted > applied:
        return (
            f"{at}: Kafka is ahead, so Postgres lost commits or somebody skipped the offset ahead. Restore Postgres, "
            f"or reset the group's offset of this partition back to {applied}, then restart the worker."
        )
    if emitted < position.ledger_from:
        return (
            f"{at}: answers below {position.ledger_from} were dropped from the ledger after its retention. Reset the "
            f"group's offset of this partition to {position.ledger_from} or later, up to {applied}, then restart."
        )
    if first > applied:
        return (
            f"{at}: the log starts at {first}, so unread commands have expired. Publish commands {applied} to "
            f"{first - 1} again, then set lane.applied and the group's offset to {first} and restart."
        )
    if end < applied:
        return (
            f"{at}: the log ends at {end}, so the topic was truncated or made anew. Use a new topic name or group id "
            "for the new topic, or restore the old one."
        )
    return None
