"""Version 0 of DescribeTransactions (KIP-664): the state of a transaction, which aiokafka does not ask for."""

from typing import Any

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields


class DescribeTransactionsResponse_v0(Response):  # type: ignore[misc]  # aiokafka ships no types
    """What the coordinator knows of each id that was asked for."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transaction_states",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("transaction_state", CompactString("utf-8")),
                ("transaction_timeout_ms", Int32),
                ("transaction_start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeTransactionsRequest_v0(RequestStruct):  # type: ignore[misc]
    """Several ids at once, all of which the same broker coordinates."""

    API_KEY = 65
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = DescribeTransactionsResponse_v0
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class TransactionStateRequest(Request[DescribeTransactionsRequest_v0]):  # type: ignore[misc]
    """The state of one transaction; for its coordinator."""

    API_KEY = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    def build(self, request_struct_class: type[DescribeTransactionsRequest_v0]) -> DescribeTransactionsRequest_v0:
        """As aiokafka asks for it."""
        return request_struct_class([self._transactional_id], {})


def transaction_state(response: Any) -> str:
    """Such as `Empty`, `Ongoing`, `PrepareCommit`, `PrepareAbort`, `CompleteCommit`. Raises `KafkaError`."""
    ((code, transactional_id, state, *_),) = response.transaction_states
    if code:
        error: KafkaError = for_code(code)(f"the transaction of {transactional_id}: error {code}")
        raise error
    return str(state)
