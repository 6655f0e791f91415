"""What brokers answer to the requests that aiokafka does not know: its bytes, its errors, and what others wrote."""

from io import BytesIO
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    KafkaError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.domain.places import Place
from worker.messages.events import cause_of
from worker.stream.cluster.describe_transactions_v0 import (
    DescribeTransactionsRequest_v0,
    DescribeTransactionsResponse_v0,
    TransactionStateRequest,
    transaction_state,
)
from worker.stream.cluster.offset_fetch_v7 import Committed, OffsetFetchResponse_v7, committed_offsets

TOPIC = "dpp.passport.create.v1"

# DescribeTransactions


def _described(code: int = 0, state: str = "Ongoing") -> DescribeTransactionsResponse_v0:
    """What a coordinator says of one transaction, through its bytes."""
    topics: list[object] = [("created", [0, 1], {}), ("rejected", [5], {})]
    written = DescribeTransactionsResponse_v0(
        0, [(code, "group.commands.unique", state, 60_000, 1_700_000_000_000, 4711, 3, topics, {})], {}
    )
    read: DescribeTransactionsResponse_v0 = DescribeTransactionsResponse_v0.decode(BytesIO(written.encode()))
    return read


def test_a_request_for_a_transaction_asks_for_its_id() -> None:
    """One compact array with one compact string, and no tags (KIP-664, KIP-482)."""
    request = TransactionStateRequest("id").build(DescribeTransactionsRequest_v0)
    assert request.encode() == b"\x02\x03id\x00"


def test_an_answer_of_a_broker_is_read_as_it_was_written() -> None:
    """Byte for byte as the protocol's schema has it, with its topics, which nobody looks at."""
    answer = bytes.fromhex("00000000 02 0000 03 6964") + b"\x0dPrepareAbort"
    answer += bytes.fromhex("0000ea60 0000018bcfe56800 0000000000001267 0003 02 08") + b"created"
    answer += bytes.fromhex("02 00000005 00 00 00")
    read = DescribeTransactionsResponse_v0.decode(BytesIO(answer))
    assert transaction_state(read) == "PrepareAbort"
    assert read.transaction_states[0][3:8] == (60_000, 1_700_000_000_000, 4711, 3, [("created", [5], {})])
    assert read.encode() == answer


@pytest.mark.parametrize("state", ["Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "Dead"])
def test_the_state_of_a_transaction_is_told(state: str) -> None:
    """Whatever it is: only one of them counts as fenced."""
    assert transaction_state(_described(state=state)) == state


@pytest.mark.parametrize(
    ("code", "error"),
    [(53, TransactionalIdAuthorizationFailed), (15, CoordinatorNotAvailableError), (105, KafkaError)],
)
def test_a_state_that_is_not_told_is_an_error(code: int, error: type[Exception]) -> None:
    """Also of codes that the client has no name for; it says which transaction, and the code."""
    with pytest.raises(error, match=f"group.commands.unique: error {code}"):
        transaction_state(_described(code, ""))


# OffsetFetch


def _fetched(code: int, *partitions: tuple[int, int, int]) -> OffsetFetchResponse_v7:
    """Partition, offset and error code of each, through the bytes."""
    of_topic: list[object] = [(partition, offset, -1, "", error, {}) for partition, offset, error in partitions]
    written = OffsetFetchResponse_v7(0, [(TOPIC, of_topic, {}), ("other", [(0, 99, -1, "", 0, {})], {})], code, {})
    read: OffsetFetchResponse_v7 = OffsetFetchResponse_v7.decode(BytesIO(written.encode()))
    return read


def test_offsets_of_many_partitions_come_with_their_errors() -> None:
    """A partition has its offset, none, or an error, which says neither, whatever topic it is of."""
    found = dict(committed_offsets(_fetched(0, (0, 7, 0), (1, -1, 0), (2, -1, 88), (3, 5, 3))))
    assert found.pop(TopicPartition("other", 0)) == Committed(99, "")
    assert (found.pop(TopicPartition(TOPIC, 0)), found.pop(TopicPartition(TOPIC, 1))) == (Committed(7, ""), None)
    assert {lane.partition: str(error) for lane, error in found.items()} == {
        2: f"UnstableOffset: the offset of {TOPIC}/2: error 88",
        3: f"[Error 3] UnknownTopicOrPartitionError: the offset of {TOPIC}/3: error 3",
    }
    assert all(isinstance(error, KafkaError) for error in found.values())


@pytest.mark.parametrize(
    ("code", "error"), [(14, KafkaError), (15, CoordinatorNotAvailableError), (30, GroupAuthorizationFailedError)]
)
def test_an_error_of_the_whole_answer_is_raised(code: int, error: type[Exception]) -> None:
    """It comes without partitions, which would otherwise be none that has an offset (guard B17)."""
    with pytest.raises(error, match=f"the group's offsets: error {code}"):
        committed_offsets(_fetched(code))


def test_a_partition_without_an_answer_is_not_in_it() -> None:
    """Whoever asked for it must not take that for no offset."""
    assert {(TOPIC, 4)} == committed_offsets(_fetched(0, (4, 0, 0))).keys() - {("other", 0)}


def test_an_old_broker_answers_without_tags() -> None:
    """Version 3 has neither leader epochs nor tags."""
    old = SimpleNamespace(API_VERSION=3, error_code=0, topics=[(TOPIC, [(0, 7, "", 0), (1, -1, "", 0)])])
    assert committed_offsets(old) == {(TOPIC, 0): Committed(7, ""), (TOPIC, 1): None}


# Causes of results


def _result(*headers: tuple[str, bytes | None]) -> ConsumerRecord:
    return ConsumerRecord("created", 0, 0, 0, 0, b"k", b"{}", None, 1, 2, headers)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (f"{TOPIC}/3/17", Place(TOPIC, 3, 17)),
        (f"{TOPIC}/0/0", Place(TOPIC, 0, 0)),
        (f"{TOPIC}/12/9007199254740993", Place(TOPIC, 12, 9007199254740993)),
        (f"x{TOPIC}/3/17", Place(f"x{TOPIC}", 3, 17)),
        (f"{TOPIC}/{TOPIC}/3/17", None),
        ("", None),
        (TOPIC, None),
        (f"{TOPIC}/", None),
        (f"{TOPIC}/3", None),
        (f"{TOPIC}/3/", None),
        (f"{TOPIC}//17", None),
        (f"{TOPIC}/3/17/4", None),
        (f"{TOPIC}/three/17", None),
        (f"{TOPIC}/3/-17", None),
        (f"{TOPIC}/3/ 17", None),
        (f"{TOPIC}/3/1_7", None),
    ],
)
def test_only_a_place_is_a_cause(text: str, cause: Place | None) -> None:
    """Others may write to the result topics, and anything: other text tells nothing, and hides nothing.

    Seen to fail where it was read as numbers at once: one foreign record, and the reason of a halt could not be told.
    """
    headers = _result(("a", b"1"), ("ce_causationid", text.encode())).headers
    assert cause_of(headers) == cause


@pytest.mark.parametrize("headers", [(), (("ce_causationid", None),), (("ce_causationid", b"\xff\xfe"),)], ids=repr)
def test_a_record_without_a_cause_has_none(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    """Nor does one whose header is null or no text."""
    assert cause_of(_result(*headers).headers) is None
