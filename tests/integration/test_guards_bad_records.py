"""Guard B8: a record that the client cannot read costs that record, and neither its partition nor its neighbours."""

import asyncio

import pytest

from tests.integration.guards_helpers import (
    answer_fetches,
    commands,
    publish,
    publish_raw,
    raw,
    running,
    transaction,
)
from tests.invariants import check_invariants
from tests.workbench import Workbench, until
from worker.stream.cluster.connection import Cluster
from worker.stream.lane import LaneState
from worker.stream.log_reader import LogReader

pytestmark = pytest.mark.real_kafka

BAD = (b"QQ-name", b"\xff\xfe-name")
"""A header name, and what becomes of it: not UTF-8."""


@pytest.mark.parametrize("latency_seconds", [0.0, 0.25])
async def test_b8_a_header_name_that_is_not_utf8_costs_one_record(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, latency_seconds: float
) -> None:
    """It is refused with a dead letter; its neighbours of the same batch and of the other partition are created.

    Seen to fail with aiokafka's own decoder of record batches: the partition fails at the same offset for ever.
    """
    answer_fetches(monkeypatch, lambda records: records, latency_seconds=latency_seconds)
    await publish(bench, commands(bench, 0, 6, None))
    async with running(bench) as one:
        offset = await publish_raw(bench, [raw(bench, n, *_bad_name(n == 2)) for n in range(4)], BAD)
        await publish(bench, commands(bench, 6, 12, None))
        await bench.wait_for_results(16)
        assert one.metric("passport_lane_position") == offset + 4 + 3
    results = bench.results()
    assert len(results) == 16
    refused = [result for result in results if result.topic == bench.settings.topic_rejected]
    assert [one.cause for one in refused] == [f"{bench.settings.topic_commands}/0/{offset + 2}"]
    assert refused[0].body["status"] == 400
    letters = bench.read([bench.dead_letters])
    assert [letter.header("dlq-reason") for letter in letters] == ["header-name-not-utf8"]
    assert letters[0].header("\\xff\\xfe-name") == "here"
    assert letters[0].value == raw(bench, 2)[0]
    assert letters[0].header("authorization") is None


def _bad_name(bad: bool) -> list[tuple[str, bytes]]:
    return [(BAD[0].decode(), b"here")] if bad else []


async def test_b8_a_bad_record_behind_markers_and_aborted_records_is_the_one_refused(bench: Workbench) -> None:
    """Markers and aborted commands between the position and the bad record get no result of their own.

    Seen to fail where whatever lay at the position was read: the commit marker was refused as a command.
    """
    await asyncio.to_thread(transaction, bench, commands(bench, 0, 2), commit=True)
    await asyncio.to_thread(transaction, bench, commands(bench, 2, 4), commit=False)
    offset = await publish_raw(bench, [raw(bench, 0, *_bad_name(True)), raw(bench, 1)], BAD)
    assert offset == 6
    async with running(bench):
        results = await bench.wait_for_results(4)
    results = bench.results()
    assert sorted(int(one.cause.rpartition("/")[2]) for one in results) == [0, 1, 6, 7]
    assert [one.cause.rpartition("/")[2] for one in bench.read([bench.settings.topic_rejected])] == ["6"]


async def test_b8_a_bad_record_costs_its_neighbours_in_other_partitions_nothing(bench: Workbench) -> None:
    """Whichever of the two partitions is read first, the other one misses nothing.

    Seen to fail where both were polled together with aiokafka's own decoder: ten good commands were lost.
    """
    async with running(bench) as one:
        consumer, places = one.assignment._consumer, (one.place(0), one.place(1))
        for turn in range(6):  # which of the two is drained first is left to chance
            consumer.pause(*places)
            await publish_raw(bench, [raw(bench, turn, *_bad_name(True))], BAD)
            await publish(bench, commands(bench, 10 * turn, 10 * turn + 10, 1))
            consumer.resume(*places)
            await one.emitted(turn + 1, 0)
            await one.emitted(10 * turn + 10, 1)
    results = bench.results()
    assert len({one.cause for one in results}) == len(results) == 6 + 60


async def test_b8_bytes_that_fail_their_checksum_are_never_taken(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the wire garbles records the lane waits and says so; afterwards each command is created as it was sent.

    Seen to fail without the check of checksums: garbled bytes were taken as commands, and nobody noticed.
    """
    async with running(bench) as one:
        with monkeypatch.context() as wire:
            answer_fetches(wire, lambda records: records.replace(b"unit-", b"unjt-"))
            await asyncio.sleep(0.5)  # the fetch in flight is answered as it was
            await publish(bench, commands(bench, 0, 10))
            await until(lambda: one.reopenings() >= 2, 30, "reopenings on garbled records")
            lane = one.lane()
            assert "fetching failed: CorruptRecordException" in lane.reason or lane.state is LaneState.RUNNING
            assert bench.results() == []
        await bench.wait_for_results(10)
    results = await check_invariants(bench)
    assert {one.topic for one in results} == {bench.settings.topic_created}


async def test_b8_a_record_that_the_client_skips_as_too_large_is_read_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka passes over a batch that arrives in part, and moves its position by one; the lane goes back.

    Seen to fail without the assertion of the position: the first command got no result.
    """
    async with running(bench) as one:
        with monkeypatch.context() as wire:
            answer_fetches(wire, lambda records: records[:-1], most=1)
            await asyncio.sleep(0.5)
            await publish(bench, commands(bench, 0, 10))
            await bench.wait_for_results(10)
        assert one.reopenings() == 1
    await check_invariants(bench)


async def test_b8_what_stands_beside_a_bad_name_is_the_record_as_it_was(bench: Workbench) -> None:
    """Key, null value, null headers and append time survive; only bad names change.

    Seen to fail with a decoder that calls every record of such a batch unreadable.
    """
    good, bad = raw(bench, 0), raw(bench, 1, (BAD[0].decode(), b"here"))
    await publish_raw(bench, [good, bad, good], BAD)
    await publish(bench, [{"value": None, "headers": [("empty", None)], "partition": 0}])
    cluster = Cluster(bench.settings)
    try:
        records = [one async for one in LogReader(cluster).read(bench.settings.topic_commands, 0, 0, 4)]
    finally:
        await cluster.close()
    whole, marked, *rest = [record for chunk in records for record in chunk]
    assert (whole.key, whole.value, whole.headers, whole.unreadable) == (None, good[0], tuple(good[1]), None)
    assert (marked.offset, marked.value, marked.headers[-1]) == (1, bad[0], ("\\xff\\xfe-name", b"here"))
    assert marked.unreadable is not None
    assert marked.unreadable.code == "header-name-not-utf8"
    assert [(one.offset, one.value, one.headers, one.unreadable) for one in rest] == [
        (2, good[0], tuple(good[1]), None),
        (3, None, (("empty", None),), None),
    ]
    assert 0 < whole.timestamp_ms <= marked.timestamp_ms <= rest[-1].timestamp_ms
