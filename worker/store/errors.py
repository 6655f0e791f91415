"""Translates errors of the database driver: run the turn again, narrow it down, or wait for the database."""

import asyncpg

from worker.messages.away import POSTGRES, reason_of, silent, unreachable
from worker.messages.hints import CheckResult
from worker.secret_file import UnreadableSecret
from worker.store.database import Database
from worker.store.port import BadRecord, ConcurrentUpdate, LostLane, Retriable, StoreSlow, StoreUnavailable

# Exceptions that a query over a connection can raise.
DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

# Only a concurrent writer can violate these constraints, after the facts were read. Run again with fresh facts.
_LAST_LINE_OF_DEFENCE = frozenset({"passport_gtin_serial_key", "gtin_registration_gtin_key"})

# serialization_failure, deadlock_detected, lock_not_available.
_ROLLED_BACK = frozenset({"40001", "40P01", "55P03"})

# query_canceled, by the statement timeout or by a person; transaction_timeout, if the driver reports it.
_OUT_OF_TIME = frozenset({"57014", "25P04"})

# Cardinality, data exception, integrity constraint, program limit: the data of some record cannot be stored.
_DATA_CLASSES = frozenset({"21", "22", "23", "54"})

# A check violation without a constraint: today's partition is missing, whatever the record.
_NO_PARTITION = ("23514", None)

# By SQLSTATE: invalid catalog name, invalid password, invalid authorization, insufficient privilege.
_ADVICE = {
    "3D000": "Create it (CREATE DATABASE), or correct the name in PASSPORT_DATABASE_URL.",
    "28P01": "Correct user and password in PASSPORT_DATABASE_URL or its files, or create the role (CREATE ROLE …).",
    "28000": "Create the role (CREATE ROLE … LOGIN), let it in (pg_hba.conf), or correct PASSPORT_DATABASE_URL.",
    "42501": "Give the role of PASSPORT_DATABASE_URL what it lacks (GRANT CONNECT ON DATABASE … TO …).",
}


# The text of PgBouncer's refusal. Its SQLSTATE says nothing, since PgBouncer has only one.
_NO_SETTINGS = "unsupported startup parameter"
_DROPPED_SETTINGS = (
    "Connect to PostgreSQL itself, or see deploy/move.md, PgBouncer. Do not only add the parameter to "
    "ignore_startup_parameters: sessions would lack the timeouts that protect the worker."
)
# A prepared statement is missing in its session, or is another session's: a pooler in between switches sessions.
SHARED_STATEMENTS = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
SHARED_SESSION = "a pooler gives each transaction a session of its choice, expected one session per connection"
POOL_SESSIONS = (
    "Let the worker connect to PostgreSQL itself, or to a pool of sessions (pool_mode = session) under a role that has "
    "the worker's settings: deploy/move.md, PgBouncer."
)


class DayMissing(StoreUnavailable):
    """The ledger, keys or dead letters have no partition for today."""


def why_refused(error: BaseException | None) -> CheckResult | None:
    """Why the server refuses connections, without a password; None if waiting may help."""
    if not isinstance(error, asyncpg.PostgresError):
        return None
    first_line, *_ = str(error).splitlines()
    if first_line.startswith(_NO_SETTINGS):
        return CheckResult(POSTGRES.check, f"A pooler refuses us: {first_line}", _DROPPED_SETTINGS)
    if isinstance(error, SHARED_STATEMENTS):
        return CheckResult(POSTGRES.check, SHARED_SESSION, POOL_SESSIONS)
    if error.sqlstate not in _ADVICE:
        return None
    return CheckResult(POSTGRES.check, f"The database refuses us: {first_line}", _ADVICE[error.sqlstate])


def lacks_schema(error: BaseException) -> bool:
    """Whether a statement names a table or a column that the database does not have."""
    return isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError)


def postgres_fault(error: BaseException, database: Database) -> CheckResult:
    """Why a query failed, with the address of the database and without a password."""
    if isinstance(error, StoreUnavailable) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, UnreadableSecret):
        return CheckResult(POSTGRES.check, f"There are no credentials for Postgres: {error}")
    address = database.place
    if isinstance(error, TimeoutError):
        return silent(POSTGRES, address)
    if lacks_schema(error):
        finding = f"The schema of Postgres at {address} is not this version's: {str(error).splitlines()[0]}"
        return CheckResult(POSTGRES.check, finding, "Run `passport-worker migrate`, or correct PASSPORT_DATABASE_URL.")
    if isinstance(error, OSError):
        return unreachable(POSTGRES, address, reason_of(error))
    # Texts of other errors may quote the URL.
    is_safe = isinstance(error, asyncpg.PostgresError | StoreUnavailable)
    text = next(iter(str(error).splitlines()), "") if is_safe else ""
    finding = f"Postgres at {address}: {text or type(error).__name__}"
    return why_refused(error) or CheckResult(POSTGRES.check, finding)


def meaning_of(error: Exception) -> Exception:
    """Translate an exception of the driver to one of the port. Returns any other, such as a defect, as it is."""
    if isinstance(error, LostLane | StoreUnavailable | Retriable | BadRecord):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _meaning_of_sqlstate(error)
    # Both are asyncpg's DataError. Another InterfaceError may be a lost connection, and no record is to blame.
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return BadRecord(f"{type(error).__name__}: an argument cannot be encoded")
    # Before its base class `OSError`: the server answers, and less work may end in time.
    if isinstance(error, TimeoutError):  # of a statement by the driver, or of a transaction by the store
        return StoreSlow(f"{type(error).__name__}: no answer in time")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
        return StoreUnavailable(f"{type(error).__name__}: {error}")
    return error


def _meaning_of_sqlstate(error: asyncpg.PostgresError) -> Exception:
    sqlstate, constraint, text = error.sqlstate or "", getattr(error, "constraint_name", None), str(error)
    meaning: type[Exception] = StoreUnavailable
    # The order matters: the first of these and the missing day are in class 23, too, but no record is to blame.
    if constraint in _LAST_LINE_OF_DEFENCE:
        meaning = ConcurrentUpdate
    elif sqlstate in _ROLLED_BACK:
        meaning = Retriable
    elif sqlstate in _OUT_OF_TIME:
        meaning = StoreSlow
    elif (sqlstate, constraint) == _NO_PARTITION:
        meaning = DayMissing
    elif sqlstate[:2] in _DATA_CLASSES:
        meaning = BadRecord
    return meaning(f"{sqlstate} {text}")
