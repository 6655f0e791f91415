"""What the checks of `doctor` make of what they were told: pure, so that a table of cases tells all of it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime

from worker.messages.hints import CheckResult, Status
from worker.store.clocks import AGREED_SECONDS
from worker.tools.common.inspection import OpenOperation
from worker.tools.common.lane_report import LaneReport, LanesReport
from worker.tools.common.open_transactions import OpenTransaction
from worker.tools.doctor.database_protection import Protection, Way
from worker.tools.doctor.server_state import LockHolder, ServerState

OLDEST_POSTGRES = 15
SKEW_SECONDS, WRONG_CLOCK_SECONDS = 5.0, 60.0
"""Clocks that differ by more are unusual; wrong: a result topic may refuse answers from a minute on."""
RECENT_SECONDS = 300.0
"""An older record tells nothing of a clock."""
DAY_SECONDS = 86_400.0
LAG_SECONDS = 300.0
"""As the alert PassportCommandsTooOld has it."""
CERTIFICATE_DAYS = 30
OPEN_SECONDS = 3600.0
"""An operator's command may take so long."""
LOCK_SECONDS = 3.0
"""A worker's own transaction is over by then, most likely; and it gives up waiting after 10 s, to try again."""
TRANSACTION_SECONDS = 960.0
"""A minute more than the longest that brokers let a transaction stay open (`transaction.max.timeout.ms`)."""
_MOST_NAMED = 5


def of_version(state: ServerState) -> CheckResult:
    """`postgres.version`."""
    found = f"PostgreSQL {state.version}, expected {OLDEST_POSTGRES} or later"
    return _judged("postgres.version", found, "Upgrade the server.", failed=state.major < OLDEST_POSTGRES)


def of_durability(state: ServerState) -> CheckResult:
    """`postgres.durability`: whether what was acknowledged is still there after a crash, or a failover."""
    found = (
        f"fsync={state.fsync}, full_page_writes={state.full_page_writes}, "
        f"synchronous_commit={state.synchronous_commit}, expected on for all"
    )
    loses = "off" in (state.fsync, state.full_page_writes, state.synchronous_commit)
    return _judged(
        "postgres.durability",
        found,
        "Set them to on, for the server, the database and the role: lanes halt where Postgres loses commits.",
        failed=loses,
        warning=state.has_standbys and state.synchronous_commit in ("local", "remote_write"),
    )


def of_primary(state: ServerState) -> CheckResult:
    """`postgres.primary`."""
    found = f"{'a standby, in recovery' if state.in_recovery else 'a primary'}, expected a primary"
    advice = "Point PASSPORT_DATABASE_URL to the primary (target_session_attrs=read-write finds it among several)."
    return _judged("postgres.primary", found, advice, failed=state.in_recovery)


def of_protection(id: str, protection: Protection, advice: str) -> CheckResult:
    """`postgres.tls` and `kafka.tls`. Loopback is near, but may lead elsewhere (a forwarded port)."""
    if protection.way is Way.SOCKET:
        return CheckResult(id, "over a socket of this machine, expected that, or encrypted and verified", status="ok")
    found = (
        f"{'encrypted' if protection.is_encrypted else 'not encrypted'}, "
        f"the server {'verified' if protection.is_verified else 'not verified'}, over {protection.way.value}, "
        "expected encrypted and verified"
    )
    is_bare = not (protection.is_encrypted and protection.is_verified)
    is_near = protection.way is Way.LOOPBACK
    return _judged(id, found, advice, failed=is_bare and not is_near, warning=is_bare and is_near)


def of_connections(state: ServerState, pool_size: int) -> CheckResult:
    """`postgres.connections`: whether one more worker finds connections for its pool."""
    found = f"free connections: {state.free_connections}, expected {pool_size} or more (PASSPORT_DATABASE_POOL_SIZE)"
    advice = "Raise max_connections or the limit of role or database, lower the pool's size, or end other sessions."
    return _judged("postgres.connections", found, advice, warning=state.free_connections < pool_size)


def of_locks(holders: Sequence[LockHolder]) -> CheckResult:
    """`postgres.locks`, from who has kept others waiting for more than `LOCK_SECONDS`."""
    named = [f"{_session(one)} keeps {one.kept_waiting} waiting" for one in holders]
    found = (
        f"sessions that keep others waiting for {LOCK_SECONDS:.0f} s or longer: {len(holders)}, expected none"
        + _listed(named)
    )
    advice = (
        "End what that session does: a migration by hand, a forgotten BEGIN; or have it ended (pg_terminate_backend)."
    )
    return _judged("postgres.locks", found, advice, failed=bool(holders))


def _session(holder: LockHolder) -> str:
    if holder.pid is None:
        return "a prepared transaction (pg_prepared_xacts)"
    return f"session {holder.pid} ({', '.join(_told_of(holder))})"


def _told_of(holder: LockHolder) -> Iterator[str]:
    for name, value in (("role", holder.role), ("application", holder.application), ("at", holder.address)):
        if value:
            yield f"{name} {value}"
    if holder.state is not None:
        yield holder.state if holder.since is None else f"{holder.state} since {_time(holder.since.timestamp())}"


def of_open_transactions(transactions: Sequence[OpenTransaction], now: float) -> CheckResult:
    """`topics.transactions`, from the oldest open one of each partition; `now` in Unix seconds."""
    hanging = [one for one in transactions if now - one.appended_ms / 1000 > TRANSACTION_SECONDS]
    named = [f"{one.topic}/{one.partition} at {one.offset}, since {_time(one.appended_ms / 1000)}" for one in hanging]
    minutes = TRANSACTION_SECONDS / 60
    found = f"transactions open for over {minutes:.0f} minutes: {len(hanging)}, expected none" + _listed(named)
    advice = (
        "Nothing behind them can be read. Have an administrator of Kafka end them: kafka-transactions.sh abort with "
        "--topic, --partition and --start-offset as named; then `passport-worker audit`, and `replay` what is missing."
    )
    return _judged("topics.transactions", found, advice, failed=bool(hanging))


def of_postgres_clock(ahead: float) -> CheckResult:
    """`clock.postgres`, from the seconds by which the server's clock is ahead of ours."""
    found = f"Postgres's clock is {_difference(ahead)} ours, expected within {SKEW_SECONDS:.0f} s"
    return _judged_clock("clock.postgres", found, abs(ahead))


def of_log_clock(ahead: float | None) -> CheckResult:
    """`clock.log`, from the seconds by which the newest record's time is ahead of ours; None where none is recent.

    Nobody knows how long ago a record was appended: it tells of a clock that is ahead, not of one that is behind.
    """
    if ahead is None or ahead < -RECENT_SECONDS:
        minutes = RECENT_SECONDS / 60
        return CheckResult("clock.log", f"no command was appended in the last {minutes:.0f} minutes", status="skipped")
    found = (
        f"the newest command was appended {_difference(ahead)} our time, expected at most {SKEW_SECONDS:.0f} s ahead"
    )
    return _judged_clock("clock.log", found, max(ahead, 0.0))


def of_days_ahead(ends: float, now: float) -> CheckResult:
    """`days.ahead`, from when the first day without partitions begins; both in Unix seconds, by Postgres's clock."""
    left = ends - now
    found = f"daily partitions are there until {_time(ends)}, expected for the next 24 h at least"
    advice = "Start a worker or run `passport-worker migrate`: each makes them; its log says why it could not."
    return _judged("days.ahead", found, advice, failed=left <= 0, warning=left < DAY_SECONDS)


def of_old_days(days: Sequence[date], retention_days: int) -> CheckResult:
    """`days.dropped`, from those that should be gone since a day or longer."""
    expected = f"expected none that ended more than {retention_days} days ago (PASSPORT_RETENTION_DAYS)"
    found = f"daily partitions since {days[0]} are still there" if days else "old daily partitions are dropped"
    advice = (
        "See that a worker runs, and its log for housekeeping_failed. A day with answers that are not in Kafka stays "
        "for twice the retention: a group that was given up keeps its days so long."
    )
    return _judged("days.dropped", f"{found}, {expected}", advice, warning=bool(days))


def of_lanes(report: LanesReport) -> list[CheckResult]:
    """`lanes.halted`, `lanes.lag` and `lanes.unowned`."""
    lanes = report.lanes
    halted = [one for one in lanes if one.state == "halted"]
    reasons = [f"partition {one.partition}: {(one.advice or '').rstrip('.')}" for one in halted]
    told = f"halted lanes: {len(halted)} of {len(lanes)}, expected none" + _listed(reasons)
    return [
        _judged("lanes.halted", told, "`passport-worker lanes` says of each what to do.", failed=bool(halted)),
        _of_lag(lanes),
        _of_unowned(lanes),
    ]


def _of_lag(lanes: Sequence[LaneReport]) -> CheckResult:
    oldest = max((one.lag_seconds or 0.0 for one in lanes), default=0.0)
    found = (
        f"commands waiting: {sum(map(_waiting, lanes))}, the oldest since {oldest:.1f} s, "
        f"expected none since more than {LAG_SECONDS:.0f} s"
    )
    advice = "Start more workers, up to one a partition; see their logs where they do not get on."
    return _judged("lanes.lag", found, advice, warning=oldest > LAG_SECONDS)


def _waiting(lane: LaneReport) -> int:
    """None where E is unknown, or beyond the end of the log."""
    return max(0, lane.lag_records or 0)


def _of_unowned(lanes: Sequence[LaneReport]) -> CheckResult:
    nobodys = [one for one in lanes if one.member is None]
    waiting = [f"partition {one.partition} has {lag} waiting" for one in nobodys if (lag := _waiting(one))]
    found = f"lanes without a worker: {len(nobodys)} of {len(lanes)}, expected none" + _listed(waiting)
    given_up = any(one.state != "never-run" for one in nobodys)
    return _judged(
        "lanes.unowned", found, "Start a worker (`passport-worker run`).", failed=bool(waiting), warning=given_up
    )


def of_operations(operations: Sequence[OpenOperation]) -> CheckResult:
    """`operations.open`, from those that began more than `OPEN_SECONDS` ago."""
    named = [f"{one.verb} {one.id} of {one.who}, begun {_time(one.begun_at.timestamp())}" for one in operations]
    found = f"operations begun over an hour ago and not ended: {len(operations)}, expected none" + _listed(named)
    advice = "Look whether they still run. Where one was killed, run its command again: it goes on, or says how."
    return _judged("operations.open", found, advice, warning=bool(operations))


def of_signing_keys(without: Sequence[str]) -> CheckResult:
    """`keys.signing`, from the companies that have to sign and cannot."""
    found = f"companies that have to sign and have no valid signing key: {len(without)}, expected none"
    advice = "All of their commands get 401. Load a key of each, or take `signaturesRequiredFrom` back with null."
    return _judged("keys.signing", found + _listed(without), advice, warning=bool(without))


def of_keys(usable: int) -> CheckResult:
    """`oauth.jwks`, from the number of keys that were read and can be used."""
    found = f"usable keys: {usable}, expected one or more"
    return _judged("oauth.jwks", found, "See what PASSPORT_OAUTH_JWKS publishes.", failed=usable == 0)


def of_certificate(name: str, ends: float, now: float) -> CheckResult:
    """`certificates.<name>`, from the end of its validity; both in Unix seconds."""
    days = (ends - now) / DAY_SECONDS
    found = f"valid until {_time(ends)}, expected for {CERTIFICATE_DAYS} days or more"
    advice = f"Replace the file of PASSPORT_KAFKA_SSL_{'CERT' if name == 'client' else 'CA'}FILE, restart the workers."
    return _judged(f"certificates.{name}", found, advice, failed=days <= 0, warning=days < CERTIFICATE_DAYS)


def _judged_clock(id: str, found: str, seconds: float) -> CheckResult:
    advice = "Have all servers and this machine synchronize their clocks (NTP)."
    if seconds > AGREED_SECONDS:
        advice += " Workers drop no old days while clocks differ by more than an hour."
    return _judged(id, found, advice, failed=seconds > WRONG_CLOCK_SECONDS, warning=seconds > SKEW_SECONDS)


def _judged(id: str, found: str, advice: str, *, failed: bool = False, warning: bool = False) -> CheckResult:
    """Advice only where something is wrong."""
    status: Status = "failed" if failed else "warning" if warning else "ok"
    return CheckResult(id, found, "" if status == "ok" else advice, status)


def _difference(ahead: float) -> str:
    return f"{abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _listed(texts: Iterable[str]) -> str:
    """As the end of a sentence; not all, where there are many."""
    named = list(texts)
    others = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f": {'; '.join(named[:_MOST_NAMED])}{others}" if named else ""
