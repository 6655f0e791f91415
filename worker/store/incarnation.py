"""Whether the database is still the one that it was: a restored copy looks like it, and lacks what was committed."""

import structlog

from worker.store import sql
from worker.store.port import StoreUnavailable

log = structlog.get_logger(__name__)


class Incarnation:
    """The database that this process has seen last. `number` grows when it finds another one."""

    def __init__(self) -> None:
        self.number = 0
        self._name: str | None = None
        self._log_end = 0

    async def check(self, connection: sql.Connection) -> None:
        """Look. Raises `StoreUnavailable` once for each change; whoever has lanes opens them again then."""
        row = await connection.fetchrow(sql.load("incarnation"))
        assert row is not None
        change = self._change(row["name"], row["log_end"])
        self._name, self._log_end = row["name"], row["log_end"]
        if change is not None:
            self.number += 1
            log.warning("database_is_another", change=change)
            raise StoreUnavailable(f"Postgres is not the one that it was: {change}")

    def _change(self, name: str, log_end: int) -> str | None:
        if self._name is not None and name != self._name:
            return f"system and timeline are {name}, and were {self._name}"
        if log_end < self._log_end:
            return f"its log ends at {log_end}, and ended at {self._log_end}"
        return None
