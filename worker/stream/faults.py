"""What is wrong with a server, as `/readyz`, the log, verbs and console say it, in the words of `messages.away`."""

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.store.errors import DATABASE_ERRORS, postgres_fault
from worker.store.port import StoreUnavailable
from worker.stream.cluster.connection import CLUSTER_ERRORS, kafka_fault


def fault_of(error: Exception, settings: Settings, *, of_kafka: bool = True) -> CheckResult | None:
    """Describe a server that did not do what it was asked; None for errors that are not a server's.

    `of_kafka` tells which server a `TimeoutError` comes from.
    """
    if isinstance(error, CLUSTER_ERRORS) and (of_kafka or not isinstance(error, TimeoutError)):
        return kafka_fault(error, settings)
    if isinstance(error, (StoreUnavailable, *DATABASE_ERRORS)):
        return postgres_fault(error, settings.database)
    return None


def reason_of(error: Exception, settings: Settings, *, of_kafka: bool = True) -> str:
    """The fault as a text; of an error that the worker cannot lay to a server, its type and its own text."""
    # The store raises no bare OSError: one of those may come from anywhere.
    if isinstance(error, (StoreUnavailable, *CLUSTER_ERRORS)):
        return str(fault_of(error, settings, of_kafka=of_kafka))
    return f"{type(error).__name__}: {error}"
