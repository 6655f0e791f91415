"""Making checks one after the other: those that cannot be made are skipped, and one that is made is told as one."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from worker.messages.hints import CheckResult
from worker.preflight import KAFKA, POSTGRES, Check
from worker.store.port import StoreUnavailable
from worker.stream.cluster.connection import CLUSTER_ERRORS, explain
from worker.tools.common.acls import is_denied
from worker.tools.common.connect import said_by, why_unreachable
from worker.tools.common.servers import PAUSE_SECONDS, Servers
from worker.tools.doctor.report import CheckReport

_ERRORS = (*CLUSTER_ERRORS, StoreUnavailable)
_START = {
    KAFKA: "Start it, or correct PASSPORT_KAFKA_BOOTSTRAP_SERVERS.",
    POSTGRES: "Start it, or correct PASSPORT_DATABASE_URL.",
}
_RANKS = ("failed", "warning", "skipped", "ok")


class Examination:
    """What checks found, by their ids."""

    def __init__(self, servers: Servers) -> None:
        self._settings = servers.settings
        self._patience = servers.patience
        self._found: dict[str, list[CheckResult]] = {}

    async def make(self, checks: Iterable[Check]) -> None:
        """One after the other; a server is waited for by the check that asks whether it is there, and by no other."""
        for check in checks:
            if failed := [one for one in check.presumes if self._has_failed(one)]:
                self._skip(check, failed[0])
                continue
            try:
                patience = self._patience if check.ids[0] in _START else 0.0
                found = await self._ask(check, patience)
            except _ERRORS as error:
                found = [self._told(error, id) for id in check.ids]
            for one in found:
                self._found.setdefault(one.id, []).append(one)
            self._skip(check, found[0].id)

    def reports(self, ids: Iterable[str]) -> tuple[CheckReport, ...]:
        """Of each check one, whose findings are all that is wrong. Raises `KeyError` for one that was not made."""
        return tuple(_report_of(self._found[id]) for id in ids)

    async def _ask(self, check: Check, patience: float) -> Sequence[CheckResult]:
        """Again for so many seconds; then it raises."""
        deadline = time.monotonic() + patience
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    return await check.ask()
            except _ERRORS:
                if time.monotonic() + PAUSE_SECONDS > deadline:
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    def _has_failed(self, id: str) -> bool:
        return any(one.is_fatal for one in self._found.get(id, ()))

    def _skip(self, check: Check, failed: str) -> None:
        """Note why nothing was found for an id."""
        for id in check.ids:
            if id not in self._found:
                self._found[id] = [CheckResult(id, f"not checked, since {failed} has failed", status="skipped")]

    def _told(self, error: Exception, id: str) -> CheckResult:
        """A check that could not be made to its end has failed, but where it is an ACL that keeps us from asking."""
        if isinstance(error, StoreUnavailable):
            cause = error.__cause__ or error
            away = why_unreachable(self._settings.database_url, cause)
            text = away if id == POSTGRES else f"Postgres: {said_by(cause)}"
        elif isinstance(error, TimeoutError):
            text = f"no answer in {self._patience:.0f} s"
        else:
            text = explain(error, self._settings)
        if is_denied(error):
            return CheckResult(id, f"not checked: {text}", "See kafka.rights.", "skipped")
        return CheckResult(id, text, _START.get(id, "Try again; the server's log may tell more."))


def _report_of(found: Sequence[CheckResult]) -> CheckReport:
    worst = min(found, key=lambda one: _RANKS.index(one.status))
    told = [one for one in found if one.status in ("failed", "warning")] or [worst]
    return CheckReport(
        id=worst.id,
        status=worst.status,
        finding="; ".join(one.finding for one in told),
        advice=" ".join(dict.fromkeys(one.advice for one in told if one.advice)) or None,
    )
