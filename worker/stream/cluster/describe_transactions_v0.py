"""Version 0 of DescribeTransactions (KIP-664), the state of a transaction. aiokafka has no such request."""

from typing import Any

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, Int16, Int32, Int64

from worker.stream.cluster.flexible import TEXT, array, structure

_TRANSACTION = (
    *(("error_code", Int16), ("transactional_id", TEXT), ("transaction_state", TEXT)),
    *(("transaction_timeout_ms", Int32), ("transaction_start_time_ms", Int64)),
    *(("producer_id", Int64), ("producer_epoch", Int16)),
    ("topics", array(("topic", TEXT), ("partitions", CompactArray(Int32)))),
)


class DescribeTransactionsResponse_v0(Response):  # type: ignore[misc]  # aiokafka ships no types
    """The state of the transaction of each id."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = structure(("throttle_time_ms", Int32), ("transaction_states", array(*_TRANSACTION)))


class DescribeTransactionsRequest_v0(RequestStruct):  # type: ignore[misc]
    """Ids that the same broker coordinates."""

    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = DescribeTransactionsResponse_v0
    SCHEMA = structure(("transactional_ids", CompactArray(TEXT)))


class TransactionStateRequest(Request[DescribeTransactionsRequest_v0]):  # type: ignore[misc]
    """Asks the coordinator of an id for the state of its transaction."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[DescribeTransactionsRequest_v0]) -> DescribeTransactionsRequest_v0:
        """See `aiokafka.protocol.api.Request`."""
        return request_struct_class([self._transactional_id], {})


def transaction_state(response: Any) -> str:
    """The state in an answer, such as `Ongoing`, `PrepareCommit` or `CompleteAbort`. Raises the error in the answer."""
    ((code, transactional_id, state, *_),) = response.transaction_states
    if code:
        error: KafkaError = for_code(code)(f"the transaction of {transactional_id}: error {code}")
        raise error
    return str(state)
