"""Notices when another database answers than before: a restored copy looks the same, but lacks commits."""

import structlog

from worker.store import sql
from worker.store.port import StoreUnavailable

log = structlog.get_logger(__name__)


class Incarnation:
    """The database that this process met last. Its `number` grows when another one answers."""

    def __init__(self) -> None:
        self.number = 0
        self._name: str | None = None
        self._oids: str | None = None
        self._log_end = 0

    async def check(self, connection: sql.Connection) -> None:
        """Raises `StoreUnavailable` once for each change. The owners of lanes then open them again."""
        ended = self._log_end  # read before the query: answers on two connections may overtake each other
        row = await connection.fetchrow(sql.load("incarnation"))
        assert row is not None
        name, oids, log_end = row
        change = self._change(name, oids, log_end, ended)
        self._name, self._oids = name, oids or self._oids
        if change is not None:
            # Not the larger one: the log of a restored database ends earlier, and each check would find a change.
            self._log_end = log_end
            self.number += 1
            log.warning("database_is_another", change=change)
            raise StoreUnavailable(f"Postgres is not the one that it was: {change}")
        self._log_end = max(self._log_end, log_end)

    def _change(self, name: str, oids: str | None, log_end: int, ended: int) -> str | None:
        if self._name is None:
            return None
        if name != self._name:
            return f"system and timeline are {name}, and were {self._name}"
        if None not in (oids, self._oids) and oids != self._oids:
            return f"the oids of the database and of its table of lanes are {oids}, and were {self._oids}"
        if log_end < ended:
            return f"its log ends at {log_end}, and ended at {ended}"
        return None
