"""Fencing ends the open transaction of another session's producer, and keeps that producer from beginning another."""

import asyncio
from collections.abc import Callable

import stamina
import structlog
from aiokafka.errors import (
    ConcurrentTransactions,
    IncompatibleBrokerVersion,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.transaction import InitProducerIdRequest

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.describe_transactions_v0 import TransactionStateRequest, transaction_state

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.05


class _NotFenced(Exception):
    """Kafka has not ended the producer's transaction yet."""


async def fence(
    cluster: Cluster, settings: Settings, transactional_id: str, has_ended: Callable[[], bool] = lambda: False
) -> None:
    """Wait until no result of that id can become visible, and no offset of it can be committed.

    `has_ended` tells whether its producer belonged to this worker and sends nothing more. Tries again after each
    failure, without limit, except after `TransactionalIdAuthorizationFailed`.
    """

    def may_pass(error: BaseException) -> bool:
        # stamina asks about a CancelledError, too, and would try again.
        if not isinstance(error, Exception) or isinstance(error, TransactionalIdAuthorizationFailed):
            return False
        if not isinstance(error, _NotFenced):
            log.warning("fencing_is_tried_again", producer=transactional_id, error=f"{type(error).__name__}: {error}")
        return True

    async for attempt in stamina.retry_context(
        on=may_pass, attempts=None, timeout=None, wait_initial=PAUSE_SECONDS, wait_max=1.0, wait_jitter=PAUSE_SECONDS
    ):
        with attempt:
            async with asyncio.timeout(settings.kafka_session_timeout_seconds):
                await _fence_once(cluster, settings, transactional_id, has_ended)


async def _fence_once(
    cluster: Cluster, settings: Settings, transactional_id: str, has_ended: Callable[[], bool]
) -> None:
    """Send InitProducerId, which ends or aborts an open transaction and raises the epoch. Raises `_NotFenced`."""
    timeout_ms = int(settings.kafka_transaction_timeout_seconds * 1000)
    request = InitProducerIdRequest(transactional_id, timeout_ms)
    code = (await cluster.ask_transaction_coordinator(transactional_id, request)).error_code
    if code == 0:
        return
    if code != ConcurrentTransactions.errno:
        raise for_code(code)(f"InitProducerId of {transactional_id}: error {code}")
    # The coordinator is ending a transaction. It may say so for long, until each result partition has a leader that
    # takes the marker. Whether the owner is fenced meanwhile depends on the state of the transaction:
    # - PrepareAbort: none of our producers aborts, so the coordinator did. It also raised the epoch, and the owner
    #   can commit no offset under the old one.
    # - PrepareCommit leaves the owner its epoch, so the owner could begin another transaction after it. If the owner
    #   has ended, it will not: the commit is decided, stable offsets include it, and only markers are missing.
    try:
        described = await cluster.ask_transaction_coordinator(
            transactional_id, TransactionStateRequest(transactional_id)
        )
    except (IncompatibleBrokerVersion, NotImplementedError):  # a broker that cannot tell: wait for its markers
        raise _NotFenced from None
    state = transaction_state(described)
    if state != "PrepareAbort" and not (state == "PrepareCommit" and has_ended()):
        raise _NotFenced
