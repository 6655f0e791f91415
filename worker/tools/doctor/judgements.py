"""The conclusions that `doctor` draws from what it has read. Pure; tests have a table of cases."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime

from worker.messages.hints import CheckResult, Status
from worker.store.clocks import AGREED_SECONDS
from worker.stream.cluster.topic_settings import ExistingTopic, shortest_retention
from worker.tools.common.inspection import OpenOperation
from worker.tools.common.lane_report import LATE, UNOWNED, LaneReport, LanesReport
from worker.tools.common.open_transactions import OpenTransaction
from worker.tools.doctor.protection import Protection, Way
from worker.tools.doctor.server_state import LockHolder, ServerState

OLDEST_POSTGRES = 15
# A larger skew is unusual. A clock that is a minute off is wrong: a result topic may refuse answers.
SKEW_SECONDS, WRONG_CLOCK_SECONDS = 5.0, 60.0
# The age up to which a record says something about a clock.
RECENT_SECONDS = 300.0
DAY_SECONDS = 86_400.0
# The threshold of the alert PassportCommandsTooOld.
LAG_SECONDS = 300.0
CERTIFICATE_DAYS = 30
DATABASE_CA_DAYS = 5  # CloudNativePG renews its authority 7 days before its end
# How long an operator's command may take.
OPEN_SECONDS = 3600.0
# Most transactions of a worker are shorter. A worker that waits for a lock gives up after 10 s, and tries again.
LOCK_SECONDS = 3.0
# A minute longer than brokers let a transaction stay open (`transaction.max.timeout.ms`).
TRANSACTION_SECONDS = 960.0
_MOST_NAMED = 5


def of_version(state: ServerState) -> CheckResult:
    """`postgres.version`."""
    finding = f"PostgreSQL {state.version}, expected {OLDEST_POSTGRES} or later"
    return _judged("postgres.version", finding, "Upgrade the server.", failed=state.major < OLDEST_POSTGRES)


def of_durability(state: ServerState) -> CheckResult:
    """`postgres.durability`: whether acknowledged commits survive a crash or a failover."""
    finding = (
        f"fsync={state.fsync}, full_page_writes={state.full_page_writes}, "
        f"synchronous_commit={state.synchronous_commit}, expected on for all"
    )
    loses = "off" in (state.fsync, state.full_page_writes, state.synchronous_commit)
    return _judged(
        "postgres.durability",
        finding,
        "Set them to on, for the server, the database and the role: lanes halt if Postgres loses commits.",
        failed=loses,
        warning=state.has_standbys and state.synchronous_commit in ("local", "remote_write"),
    )


def of_primary(state: ServerState) -> CheckResult:
    """`postgres.primary`."""
    finding = f"{'a standby, in recovery' if state.in_recovery else 'a primary'}, expected a primary"
    advice = "Point PASSPORT_DATABASE_URL to the primary (target_session_attrs=read-write finds it among several)."
    return _judged("postgres.primary", finding, advice, failed=state.in_recovery)


def of_protection(id: str, protection: Protection, advice: str) -> CheckResult:
    """`postgres.tls` and `kafka.tls`. Loopback gets a warning, since a forwarded port may lead elsewhere."""
    if protection.way is Way.SOCKET:
        return CheckResult(id, "over a socket of this machine, expected that or encrypted and verified", status="ok")
    finding = (
        f"{'encrypted' if protection.is_encrypted else 'not encrypted'}, "
        f"the server {'verified' if protection.is_verified else 'not verified'}, over {protection.way.value}, "
        "expected encrypted and verified"
    )
    is_bare = not (protection.is_encrypted and protection.is_verified)
    is_near = protection.way is Way.LOOPBACK
    return _judged(id, finding, advice, failed=is_bare and not is_near, warning=is_bare and is_near)


def of_connections(state: ServerState, pool_size: int) -> CheckResult:
    """`postgres.connections`: whether another worker would get connections for its pool."""
    finding = f"free connections: {state.free_connections}, expected {pool_size} or more (PASSPORT_DATABASE_POOL_SIZE)"
    advice = "Raise max_connections or the limit of role or database, lower the pool's size, or end other sessions."
    return _judged("postgres.connections", finding, advice, warning=state.free_connections < pool_size)


def of_locks(holders: Sequence[LockHolder]) -> CheckResult:
    """`postgres.locks`, from the sessions that have kept others waiting for longer than `LOCK_SECONDS`."""
    named = [f"{_session(holder)} keeps {holder.kept_waiting} waiting" for holder in holders]
    finding = (
        f"sessions that keep others waiting for {LOCK_SECONDS:.0f} s or longer: {len(holders)}, expected none"
        + _listed(named)
    )
    advice = "End the session's work (a manual migration, a forgotten BEGIN), or the session (pg_terminate_backend)."
    return _judged("postgres.locks", finding, advice, failed=bool(holders))


def _session(holder: LockHolder) -> str:
    if holder.pid is None:
        return "a prepared transaction (pg_prepared_xacts)"
    values = (("role", holder.role), ("application", holder.application), ("at", holder.address))
    details = [f"{name} {value}" for name, value in values if value]
    if holder.state is not None:
        since = "" if holder.since is None else f" since {_time(holder.since.timestamp())}"
        details.append(f"{holder.state}{since}")
    return f"session {holder.pid} ({', '.join(details)})"


def of_open_transactions(transactions: Sequence[OpenTransaction], now: float) -> CheckResult:
    """`topics.transactions`, from the oldest open one of each partition; `now` in Unix seconds."""
    hanging = [open for open in transactions if now - open.appended_ms / 1000 > TRANSACTION_SECONDS]
    named = [
        f"{open.topic}/{open.partition} at {open.offset}, since {_time(open.appended_ms / 1000)}" for open in hanging
    ]
    minutes = TRANSACTION_SECONDS / 60
    finding = f"transactions open for over {minutes:.0f} minutes: {len(hanging)}, expected none" + _listed(named)
    advice = (
        "Nothing after them can be read. Have an administrator of Kafka end them: kafka-transactions.sh abort with "
        "the named --topic, --partition and --start-offset; then `passport-worker audit`, and `replay` what is missing."
    )
    return _judged("topics.transactions", finding, advice, failed=bool(hanging))


def of_postgres_clock(ahead: float) -> CheckResult:
    """`clock.postgres`, from the seconds by which the server's clock is ahead of this machine's."""
    finding = f"Postgres's clock is {_difference(ahead)} ours, expected within {SKEW_SECONDS:.0f} s"
    return _judged_clock("clock.postgres", finding, abs(ahead))


def of_log_clock(ahead: float | None) -> CheckResult:
    """`clock.log`, from the seconds by which the newest record's time is ahead of this machine's; None without one.

    The record may be old, so it shows a clock that is ahead, but not one that is behind.
    """
    if ahead is None or ahead < -RECENT_SECONDS:
        minutes = RECENT_SECONDS / 60
        return CheckResult("clock.log", f"no command was appended in the last {minutes:.0f} minutes", status="skipped")
    finding = (
        f"the newest command was appended {_difference(ahead)} our time, expected at most {SKEW_SECONDS:.0f} s ahead"
    )
    return _judged_clock("clock.log", finding, max(ahead, 0.0))


def of_days_ahead(ends: float, now: float) -> CheckResult:
    """`days.ahead`, from the start of the first day without partitions; both in Unix seconds, by Postgres's clock."""
    left = ends - now
    finding = f"daily partitions exist until {_time(ends)}, expected for the next 24 h at least"
    advice = "Start a worker or run `passport-worker migrate`: both create them, and log why they cannot."
    return _judged("days.ahead", finding, advice, failed=left <= 0, warning=left < DAY_SECONDS)


def of_old_days(days: Sequence[date], retention_days: int) -> CheckResult:
    """`days.dropped`, from the days that should have been dropped a day ago or earlier."""
    expected = f"expected none that ended more than {retention_days} days ago (PASSPORT_RETENTION_DAYS)"
    finding = f"daily partitions since {days[0]} still exist" if days else "old daily partitions are dropped"
    advice = (
        "Check that a worker runs, and look for housekeeping_failed in its log. A day with answers that are not in "
        "Kafka stays for twice the retention, such as the days of a group that was given up."
    )
    return _judged("days.dropped", f"{finding}, {expected}", advice, warning=bool(days))


def of_backup(taken: float | None, topics: Mapping[str, ExistingTopic], now: float) -> CheckResult:
    """`backup.newest`: whether topics reach back to the newest backup that was noted; both times in Unix seconds."""
    if taken is None:
        text = "no backup was noted, so none was compared with the topics' retention"
        advice = "Have the backup job call `passport-worker backup-taken` after each backup."
        return CheckResult("backup.newest", text, advice, status="skipped")
    age, reach = (now - taken) / DAY_SECONDS, shortest_retention(topics.values()) / DAY_SECONDS
    by_size = [name for name, topic in topics.items() if int(topic.settings.get("retention.bytes") or -1) >= 0]
    finding = (
        f"the newest backup was taken {_time(taken)}, {age:.1f} days ago, expected at most half of the {reach:g} days "
        "that every topic keeps its records, and no topic with a limit of bytes" + _listed(by_size)
    )
    advice = "Take a backup now: after a restore, `lanes recover` needs all records since it (deploy/backup.md)."
    if by_size:
        advice += " Set retention.bytes=-1, or it is unknown how far back these topics reach."
    return _judged("backup.newest", finding, advice, failed=age >= reach, warning=age > reach / 2 or bool(by_size))


def of_lanes(report: LanesReport) -> list[CheckResult]:
    """`lanes.halted`, `lanes.lag` and `lanes.unowned`. Lanes of channels that are gone need no worker."""
    lanes = [lane for lane in report.lanes if lane.state != "not-served"]
    halted = [lane for lane in lanes if lane.state == "halted"]
    reasons = [f"{lane.name}: {(lane.advice or '').rstrip('.')}" for lane in halted]
    of_halted = f"halted lanes: {len(halted)} of {len(lanes)}, expected none" + _listed(reasons)
    oldest = max((lane.lag_seconds or 0.0 for lane in lanes), default=0.0)
    of_lag = (
        f"commands waiting: {sum(map(_waiting, lanes))}, the oldest for {oldest:.1f} s, "
        f"expected none for more than {LAG_SECONDS:.0f} s"
    )
    unowned = [lane for lane in lanes if lane.member is None]
    waiting = [f"{lane.name} has {lag} waiting" for lane in unowned if (lag := _waiting(lane))]
    of_unowned = f"lanes without a worker: {len(unowned)} of {len(lanes)}, expected none" + _listed(waiting)
    given_up = any(lane.state != "never-run" for lane in unowned)
    advice = UNOWNED if waiting else "Start a worker (`passport-worker run`)."
    return [
        _judged("lanes.halted", of_halted, "`passport-worker lanes` says what to do about each.", failed=bool(halted)),
        _judged("lanes.lag", of_lag, LATE, warning=oldest > LAG_SECONDS),
        _judged("lanes.unowned", of_unowned, advice, failed=bool(waiting), warning=given_up),
    ]


def _waiting(lane: LaneReport) -> int:
    """Commands that wait in a lane; 0 if E is unknown, or beyond the end of the log."""
    return max(0, lane.lag_records or 0)


def of_operations(operations: Sequence[OpenOperation]) -> CheckResult:
    """`operations.open`, from the operations that began more than `OPEN_SECONDS` ago."""
    named = [f"{open.verb} {open.id} of {open.who}, begun {_time(open.begun_at.timestamp())}" for open in operations]
    finding = f"operations begun over an hour ago and not ended: {len(operations)}, expected none" + _listed(named)
    advice = "Check whether they still run. If one was killed, run its command again: it continues, or says how to."
    return _judged("operations.open", finding, advice, warning=bool(operations))


def of_signing_keys(without: Sequence[str]) -> CheckResult:
    """`keys.signing`, from the companies that must sign but cannot."""
    finding = f"companies that must sign but have no valid signing key: {len(without)}, expected none"
    advice = "All of their commands get 401. Load a key for each, or set `signaturesRequiredFrom` back to null."
    return _judged("keys.signing", finding + _listed(without), advice, warning=bool(without))


def of_audience(audience: str | None, signing: int) -> CheckResult:
    """`keys.audience`, from PASSPORT_SIGNATURE_AUDIENCE and the number of companies that have signing keys."""
    if audience is not None:
        return CheckResult("keys.audience", f"signatures are for {audience}", status="ok")
    finding = f"companies with signing keys while PASSPORT_SIGNATURE_AUDIENCE is not set: {signing}, expected none"
    advice = (
        "Signatures name the command topic, so all of them would be refused after a move to another topic or cluster. "
        "Set PASSPORT_SIGNATURE_AUDIENCE. If the companies have no other channel, set it to the command topic: then "
        "producers need no change."
    )
    return _judged("keys.audience", finding, advice, warning=signing > 0)


def of_keys(usable: int) -> CheckResult:
    """`oauth.jwks`, from the number of usable keys that were read."""
    finding = f"usable keys: {usable}, expected one or more"
    return _judged("oauth.jwks", finding, "Check what PASSPORT_OAUTH_JWKS publishes.", failed=usable == 0)


def of_certificate(name: str, variable: str, ends: float, now: float) -> CheckResult:
    """`certificates.<name>`, from the end of its validity; both in Unix seconds."""
    days = (ends - now) / DAY_SECONDS
    wanted = DATABASE_CA_DAYS if name == "database-ca" else CERTIFICATE_DAYS
    finding = f"valid until {_time(ends)}, expected for {wanted} days or more"
    advice = f"Replace the file of {variable}. New connections read it; nothing has to be restarted."
    return _judged(f"certificates.{name}", finding, advice, failed=days <= 0, warning=days < wanted)


def _judged_clock(id: str, finding: str, seconds: float) -> CheckResult:
    advice = "Have all servers and this machine synchronize their clocks (NTP)."
    if seconds > AGREED_SECONDS:
        advice += " Workers drop no old days while clocks differ by more than an hour."
    return _judged(id, finding, advice, failed=seconds > WRONG_CLOCK_SECONDS, warning=seconds > SKEW_SECONDS)


def _judged(id: str, finding: str, advice: str, *, failed: bool = False, warning: bool = False) -> CheckResult:
    """A finding, with advice only if something is wrong."""
    status: Status = "failed" if failed else "warning" if warning else "ok"
    return CheckResult(id, finding, "" if status == "ok" else advice, status)


def _difference(ahead: float) -> str:
    return f"{abs(ahead):.3f} s {'ahead of' if ahead > 0 else 'behind'}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _listed(texts: Iterable[str]) -> str:
    """The first texts, as the end of a sentence."""
    named = list(texts)
    others = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f": {'; '.join(named[:_MOST_NAMED])}{others}" if named else ""
