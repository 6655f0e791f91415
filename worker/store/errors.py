"""What a database failure means for the turn: run it again, narrow it down, or wait for the database."""

import asyncpg

from worker.store.port import BadRecord, ConcurrentUpdate, LostLane, Retriable, StoreSlow, StoreUnavailable

_LAST_LINE_OF_DEFENCE = frozenset({"passport_gtin_serial_key", "gtin_registration_gtin_key"})
"""Constraints that only a concurrent writer can trip after the facts were read: fresh facts will tell."""

_ROLLED_BACK = frozenset({"40001", "40P01", "55P03"})
"""serialization_failure, deadlock_detected, lock_not_available."""

_OUT_OF_TIME = frozenset({"57014", "25P04"})
"""query_canceled, by the statement timeout or by a person; transaction_timeout, where the driver tells it."""

_DATA_CLASSES = frozenset({"21", "22", "23", "54"})
"""Cardinality, data exception, integrity constraint, program limit: some record's data cannot be stored."""

_NO_PARTITION = ("23514", None)
"""A check violation of no constraint: today's partition is not there yet, whatever the record."""


DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a question over a connection raises."""


def is_denied(error: BaseException | None) -> bool:
    """Whether it, or what it was raised for, says that the role lacks a right."""
    return error is not None and (isinstance(error, asyncpg.InsufficientPrivilegeError) or is_denied(error.__cause__))


class DayMissing(StoreUnavailable):
    """The ledger, keys or dead letters have no partition for today."""


def meaning_of(error: Exception) -> Exception:
    """The port's exception for a driver's; any other exception (a defect that some record brings out) is itself."""
    if isinstance(error, LostLane | StoreUnavailable | Retriable | BadRecord):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _meaning_of_sqlstate(error)
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return BadRecord(f"{type(error).__name__}: an argument cannot be encoded")
    if isinstance(error, TimeoutError):  # a statement's or a transaction's, as the driver or the store sets it
        return StoreSlow(f"{type(error).__name__}: no answer in time")
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
        return StoreUnavailable(f"{type(error).__name__}: {error}")
    return error


def _meaning_of_sqlstate(error: asyncpg.PostgresError) -> Exception:
    sqlstate = error.sqlstate or ""
    constraint = getattr(error, "constraint_name", None)
    if constraint in _LAST_LINE_OF_DEFENCE:
        return ConcurrentUpdate(f"{sqlstate} {error}")
    if sqlstate in _ROLLED_BACK:
        return Retriable(f"{sqlstate} {error}")
    if sqlstate in _OUT_OF_TIME:
        return StoreSlow(f"{sqlstate} {error}")
    if (sqlstate, constraint) == _NO_PARTITION:
        return DayMissing(f"{sqlstate} {error}")
    if sqlstate[:2] in _DATA_CLASSES:
        return BadRecord(f"{sqlstate} {error}")
    return StoreUnavailable(f"{sqlstate} {error}")
