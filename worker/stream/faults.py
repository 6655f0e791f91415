"""Describes the fault of a server for `/readyz`, the log, verbs and console, in the words of `messages.away`."""

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.store.errors import DATABASE_ERRORS, postgres_fault
from worker.store.port import StoreUnavailable
from worker.stream.cluster.connection import CLUSTER_ERRORS, kafka_fault


def fault_of(error: Exception, settings: Settings, *, of_kafka: bool = True) -> CheckResult | None:
    """Describe the fault of a server; None for errors that no server caused.

    `of_kafka` tells which server a `TimeoutError` comes from.
    """
    if isinstance(error, CLUSTER_ERRORS) and (of_kafka or not isinstance(error, TimeoutError)):
        return kafka_fault(error, settings)
    if isinstance(error, (StoreUnavailable, *DATABASE_ERRORS)):
        return postgres_fault(error, settings.database)
    return None


def reason_of(error: Exception, settings: Settings, *, of_kafka: bool = True) -> str:
    """The fault of a server as a text. For an error that no server caused, its type and its own text."""
    # The store raises no bare OSError: one of those may come from anywhere.
    if isinstance(error, (StoreUnavailable, *CLUSTER_ERRORS)):
        return str(fault_of(error, settings, of_kafka=of_kafka))
    return f"{type(error).__name__}: {error}"
