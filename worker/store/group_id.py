"""Whether the group is the one under which the lanes of this database have run."""

from worker.messages.hints import Finding
from worker.store import sql
from worker.store.sql import Connection

GROUP = "postgres.group"
"""The id of what is found."""


async def check_group(connection: Connection, group_id: str, topic: str) -> Finding | None:
    """None where lanes of the topic have run under this group, or have answered nothing under any other. Read only.

    A lane belongs to a group. Under a new one, lanes would begin at the start of the log, and every command that the
    topic still has would get a second result.
    """
    others = [group for (group,) in await connection.fetch(sql.load("other_groups"), group_id, topic)]
    if not others:
        return None
    found = f"lanes of {topic} have run under {' and '.join(map(repr, others))}, expected them under {group_id!r}"
    advice = (
        f"Set PASSPORT_GROUP_ID={others[0]}: under a new group every command that the topic still has is answered a "
        "second time. For a new start, take a new database, or new topics."
    )
    return Finding(GROUP, found, advice)
