"""Fencing: what a producer of another session may have left open is ended, and it can begin nothing more."""

import asyncio
from collections.abc import Callable

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
LONGEST_PAUSE_SECONDS = 1.0


async def fence(
    cluster: Cluster, settings: Settings, transactional_id: str, has_ended: Callable[[], bool] = lambda: False
) -> None:
    """Until nothing of that id can become visible any more, and no offset of its can be committed.

    `has_ended` tells whether its producer was ours, and sends nothing more. All failures are tried again, for as long
    as it takes, but `TransactionalIdAuthorizationFailed`.
    """
    pause = PAUSE_SECONDS
    while True:
        try:
            async with asyncio.timeout(settings.kafka_session_timeout_seconds):
                if await _is_fenced(cluster, settings, transactional_id, has_ended):
                    return
        except TransactionalIdAuthorizationFailed:
            raise
        except Exception as error:
            log.warning("fencing_is_tried_again", producer=transactional_id, error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _is_fenced(
    cluster: Cluster, settings: Settings, transactional_id: str, has_ended: Callable[[], bool]
) -> bool:
    """InitProducerId ends or aborts what is open, and raises the epoch.

    While a result partition has no leader, the marker of an abort cannot be written, and the broker goes on to say
    CONCURRENT_TRANSACTIONS, which by itself proves nothing. But no producer of ours aborts by itself, so an abort that
    is under way is the coordinator's: it came with a higher epoch, and by it no offset can be committed. A commit that
    is under way leaves its owner the epoch, and is waited for: the owner may go on after it. Not where its producer
    has ended. Then the commit is decided, stable offsets have it, and only markers of silent brokers are missing.
    """
    timeout_ms = int(settings.kafka_transaction_timeout_seconds * 1000)
    request = InitProducerIdRequest(transactional_id, timeout_ms)
    code = (await cluster.ask_transaction_coordinator(transactional_id, request)).error_code
    if code == 0:
        return True
    if code != ConcurrentTransactions.errno:
        raise for_code(code)(f"InitProducerId of {transactional_id}: error {code}")
    try:
        described = await cluster.ask_transaction_coordinator(
            transactional_id, TransactionStateRequest(transactional_id)
        )
    except (IncompatibleBrokerVersion, NotImplementedError):  # a broker that cannot tell: wait for its markers
        return False
    state = transaction_state(described)
    return state == "PrepareAbort" or (state == "PrepareCommit" and has_ended())
