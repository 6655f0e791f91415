"""What is mended inside aiokafka, and that no other module reaches into it."""

import ast
import gc
import gzip
import importlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import codec
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import CorruptRecordException, KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record._crc32c import crc as crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from worker.stream import aiokafka_internals
from worker.stream.aiokafka_internals import records_of

PLACE = TopicPartition("commands", 0)
GOOD, BAD = "name", "QQ-name"
ESCAPED = "\\xff\\xfe-name"


def test_results_can_be_read_however_a_broker_compresses_them() -> None:
    """Each codec of Kafka is installed with the worker."""
    assert codec.has_gzip()
    assert codec.has_lz4()
    assert codec.has_snappy()
    assert codec.has_zstd()


# Decoding (guard B8)


def _batch(base: int, names: Sequence[str], *, producer: int | None = None) -> bytes:
    """A record batch, each record with one header; `BAD` stands for a name that is not UTF-8."""
    transactional = producer is not None
    builder = DefaultRecordBatchBuilder(2, 0, transactional, producer or -1, 0, 0, 100_000)
    for number, name in enumerate(names):
        builder.append(number, 1000 + number, b"key", None if number % 2 else b"value", [(name, None), ("ok", b"x")])
    return _sealed(bytes(builder.build()).replace(BAD.encode(), b"\xff\xfe-name"), base)


def _sealed(batch: bytes, base: int) -> bytes:
    changed = bytearray(batch)
    changed[:8] = base.to_bytes(8, "big")
    changed[17:21] = crc32c(bytes(changed[21:])).to_bytes(4, "big")
    return bytes(changed)


def _compressed(batch: bytes) -> bytes:
    """The same records, as a producer with `compression.type=gzip` sends them."""
    changed = bytearray(batch[:61] + gzip.compress(batch[61:]))
    changed[8:12] = (len(changed) - 12).to_bytes(4, "big")
    changed[22] |= 1
    return _sealed(bytes(changed), int.from_bytes(batch[:8], "big"))


def _read(
    *batches: bytes, offset: int = 0, aborted: Sequence[tuple[int, int]] = (), committed: bool = True
) -> list[tuple[int, str, bool]]:
    """Offset and first header name of each record, and whether it is marked."""
    response = SimpleNamespace(
        API_VERSION=4, topics=[(PLACE.topic, [(0, 0, 99, 99, list(aborted), b"".join(batches))])]
    )
    records = aiokafka_internals._records_in(response, PLACE, offset, committed, only_times=False)
    found = [(one.offset, one.headers[0][0], one.unreadable is not None) for one in records]
    assert records.next_fetch_offset == (found[-1][0] + 1 if found else offset) or aborted
    return found


def test_a_bad_name_marks_its_record_and_no_other() -> None:
    """Records in front of it and behind it, of its batch and of the next ones, are as they were."""
    found = _read(_batch(5, [GOOD, BAD, GOOD]), _batch(8, [GOOD]), _batch(9, [BAD, BAD]), offset=5)
    assert found == [
        (5, GOOD, False),
        (6, ESCAPED, True),
        (7, GOOD, False),
        (8, GOOD, False),
        (9, ESCAPED, True),
        (10, ESCAPED, True),
    ]


@pytest.mark.parametrize("offset", range(4))
def test_a_fetch_from_the_middle_of_a_batch_gives_the_records_from_there_on(offset: int) -> None:
    """Kafka always sends whole batches."""
    names = [GOOD, BAD, GOOD, BAD]
    expected = [(n, ESCAPED if n % 2 else GOOD, bool(n % 2)) for n in range(4)]
    assert _read(_batch(0, names), offset=offset) == expected[offset:]


def test_a_bad_name_in_a_compressed_batch_is_read_too() -> None:
    """Kafka passes such a batch on as it came, unless the topic has another compression."""
    log = [_compressed(_batch(0, [GOOD, BAD])), _compressed(_batch(2, [GOOD]))]
    assert _read(*log) == [(0, GOOD, False), (1, ESCAPED, True), (2, GOOD, False)]


def test_all_else_of_a_marked_record_is_as_it_was() -> None:
    """Key, value, time, headers with their values."""
    response = SimpleNamespace(API_VERSION=11, topics=[("t", [(0, 0, 9, 9, 0, [], -1, _batch(0, [BAD, BAD]))])])
    first, second = records_of(response, PLACE, 0)
    assert (first.topic, first.partition, first.offset, first.timestamp_ms) == ("commands", 0, 0, 1000)
    assert (first.key, first.value, second.value) == (b"key", b"value", None)
    assert (second.offset, second.timestamp_ms) == (1, 1001)
    assert first.headers == second.headers == ((ESCAPED, None), ("ok", b"x"))


def test_aborted_records_stay_hidden_behind_a_bad_name() -> None:
    """What aiokafka knows of aborted transactions outlasts the change of decoders.

    The transaction of producer 7 begins at offset 1 and was aborted.
    """
    log = [_batch(0, [BAD]), _batch(1, [GOOD, BAD], producer=7), _batch(3, [BAD], producer=8), _batch(4, [GOOD])]
    seen = [(0, ESCAPED, True), (3, ESCAPED, True), (4, GOOD, False)]
    assert _read(*log, aborted=[(7, 1)]) == seen
    assert [offset for offset, *_ in _read(*log, committed=False)] == [0, 1, 2, 3, 4]


def test_an_aborted_batch_in_front_of_a_bad_name_is_not_read_again() -> None:
    """The transaction is known from the first pass."""
    log = [_batch(0, [GOOD], producer=7), _batch(1, [GOOD, BAD]), _batch(3, [GOOD], producer=7)]
    assert _read(*log, aborted=[(7, 0)]) == [(1, GOOD, False), (2, ESCAPED, True)]


def test_the_last_batch_may_be_there_in_part() -> None:
    """Kafka cuts an answer off at a number of bytes."""
    assert _read(_batch(0, [BAD]), _batch(1, [BAD])[:-1]) == [(0, ESCAPED, True)]
    assert _read(_batch(0, [BAD]), b"\0" * 11) == [(0, ESCAPED, True)]


def test_bytes_that_fail_their_checksum_are_never_taken() -> None:
    """Neither the batch of a bad name nor one behind it."""
    garbled = bytearray(_batch(1, [BAD]))
    garbled[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        _read(_batch(0, [BAD]), bytes(garbled))
    with pytest.raises(CorruptRecordException):
        _read(bytes(garbled), offset=1)


def test_a_record_that_does_not_end_where_it_says_is_corrupt() -> None:
    """As aiokafka's own decoder has it: here the record claims a byte less than its parts have."""
    batch = bytearray(_batch(0, [BAD]))
    batch[61] -= 2  # a zigzag varint
    with pytest.raises(CorruptRecordException):
        _read(_sealed(bytes(batch), 0))


def test_times_are_read_without_keys_values_and_headers() -> None:
    """Those that a reader of committed records sees."""
    log = _batch(0, [GOOD], producer=7) + _batch(1, [BAD, GOOD])
    response = SimpleNamespace(API_VERSION=4, topics=[("t", [(0, 0, 99, 99, [(7, 0)], log)])])
    records = [*records_of(response, PLACE, 0, only_times=True)]
    assert [(one.offset, one.timestamp_ms, one.key, one.headers) for one in records] == [
        (1, 1000, None, ()),
        (2, 1001, None, ()),
    ]


def test_records_that_are_read_to_their_end_can_be_asked_for_more() -> None:
    """There are none. aiokafka's own raise `TypeError`, and `LogReader` takes records in chunks."""
    response = SimpleNamespace(API_VERSION=4, topics=[("t", [(0, 0, 99, 99, [], _batch(0, [GOOD]))])])
    records = aiokafka_internals._records_in(response, PLACE, 0, committed=True, only_times=False)
    assert [[*islice(records, 2)] != [] for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("only_times", [False, True])
def test_what_is_not_read_to_its_end_is_freed_at_once(only_times: bool) -> None:
    """Without a search for cycles, which a worker makes seldom.

    Seen to fail: aiokafka's records and their iterator hold each other. A hundred looks at single records of logs with
    batches of a megabyte kept 490 MB.
    """
    response = SimpleNamespace(API_VERSION=4, topics=[("t", [(0, 0, 99, 99, [], _batch(0, [GOOD, GOOD]))])])
    gc.collect()
    gc.disable()
    try:
        assert next(iter(records_of(response, PLACE, 0, only_times=only_times))).offset == 0
        kept = [one for one in gc.get_objects() if isinstance(one, aiokafka_internals._Records)]
    finally:
        gc.enable()
    assert kept == []


# Sending of results


class _Writer:
    def __init__(self, error: OSError | None = None) -> None:
        self.sent, self._error = b"", error

    def write(self, data: bytes) -> None:
        self.writelines([data])

    def writelines(self, parts: Sequence[bytes]) -> None:
        if self._error is not None:
            raise self._error
        self.sent += b"".join(parts)

    def close(self) -> None:
        """There is nothing to close."""


def _connection(version: int, error: OSError | None = None) -> Any:
    """A connection to a broker that takes produce requests of this version, with its writer."""
    connection = AIOKafkaConnection("localhost", 1, client_id="worker")
    connection._versions = {ProduceRequest.API_KEY: (0, version)}
    connection._reader, connection._writer = SimpleNamespace(at_eof=lambda: False), _Writer(error)
    connection._read_task = SimpleNamespace(done=lambda: True)
    return connection


RESULTS = [("created", [(0, bytearray(b"batch of records")), (5, b"")]), ("ü", [(1, b"x")]), ("none", [])]


@pytest.mark.parametrize("transactional_id", ["group.commands.1", None])
@pytest.mark.parametrize("version", range(3, 8))
async def test_results_are_sent_as_aiokafka_sends_them(version: int, transactional_id: str | None) -> None:
    """Byte for byte, and the answer is awaited in the same way."""
    ours, theirs = _connection(version), _connection(version)
    request = ProduceRequest(transactional_id, -1, 40_000, RESULTS)
    answer, expected = ours.send(request), aiokafka_internals._send(theirs, request)
    assert ours._writer.sent == theirs._writer.sent
    ((number, prepared, waiting),), ((their_number, their_prepared, _),) = ours._requests, theirs._requests
    assert (number, prepared) == (their_number, their_prepared)
    waiting.set_result("answer")
    assert await answer == "answer"
    expected.close()


async def test_results_that_cannot_be_written_break_the_connection() -> None:
    """As with aiokafka: its client connects again."""
    connection = _connection(7, BrokenPipeError())
    with pytest.raises(KafkaConnectionError):
        connection.send(ProduceRequest("id", -1, 40_000, RESULTS))
    assert not connection.connected()


# Private attributes

WORKER = Path(__file__).parents[2] / "worker"
OTHERS = {"_replace", "_asdict", "_fields"}
"""Of named tuples, which have nowhere else to put them."""


def _private(tree: ast.AST) -> Iterator[str]:
    """Private attributes of anything but `self` and `cls`, and private names that are imported from aiokafka."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")) and node.attr not in OTHERS:
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiokafka":
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))


def test_private_attributes_of_aiokafka_stand_in_one_module() -> None:
    """So that somebody who takes a new version of aiokafka knows what to look at.

    Modules that do not import aiokafka get its objects from those that do, so all are looked at. Some use
    private attributes of other libraries.
    """
    used = {
        str(path.relative_to(WORKER)): names
        for path in sorted(WORKER.rglob("*.py"))
        if path.name != "aiokafka_internals.py" and (names := sorted(set(_private(ast.parse(path.read_text())))))
    }
    assert used == {
        "settings.py": ["_channel"],  # its own, of the copy for a channel
        "__main__.py": ["_exit"],
        "store/address.py": ["_parse_connect_dsn_and_args"],
        "tools/cli/main.py": ["_exit"],
        "tools/doctor/protection.py": ["_transport"],
    }


def test_another_version_of_aiokafka_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the module is imported, with what to do."""
    monkeypatch.setattr("aiokafka.__version__", "0.15.0")
    with pytest.raises(ImportError, match=r"fits aiokafka 0\.14\.x, got 0\.15\.0: compare"):
        importlib.reload(aiokafka_internals)
