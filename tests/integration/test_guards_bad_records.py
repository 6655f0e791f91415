"""Guard B8: a record that the client cannot read costs that record, and neither its partition nor its neighbours."""

import asyncio

import pytest
from aiokafka.structs import TopicPartition

from tests.integration.guards_helpers import (
    LANE_ROWS,
    answer_fetches,
    commands,
    held,
    publish,
    publish_raw,
    raw,
    running,
    set_topic,
    transaction,
)
from tests.invariants import check_invariants
from tests.workbench import Workbench, tenant, until
from worker.messages.envelope import Record
from worker.settings import Settings
from worker.stream import reader as reader_module
from worker.stream.lane import LaneState
from worker.stream.lenient_fetch import fetch_leniently

pytestmark = pytest.mark.real_kafka

BAD = (b"QQ-name", b"\xff\xfe-name")
"""A header name, and what becomes of it: not UTF-8."""


@pytest.mark.parametrize("latency_seconds", [0.0, 0.25])
async def test_b8_a_header_name_that_is_not_utf8_costs_one_record(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, latency_seconds: float
) -> None:
    """It is refused with a dead letter; its neighbours of the same batch and of the other partition are created.

    Seen to fail without `_poll_alone` and `_step_over`: the partition fails at the same offset for ever. Seen to fail
    while a suspect that had not been fetched yet went free: so slow a broker kept the partition for ever, too.
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

    Seen to fail while the lenient fetch took whatever lay at the position: the commit marker was refused as a command.
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


async def test_b8_a_lane_that_reopens_during_a_lenient_fetch_loses_nothing(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read for the lane as it was is not given to the lane as it is, which stands elsewhere.

    Seen to fail while `_step_over` put its record unasked: the commands in front of it got no result.
    """
    behind, release = list[int](), asyncio.Event()

    async def slow_fetch(settings: Settings, place: TopicPartition, offset: int) -> Record:
        found = await fetch_leniently(settings, place, offset)
        if not release.is_set():
            one.lane().inbox.fail("provoked")
            release.set()
            await until(lambda: one.reopenings() == 1 and one.lane().state is LaneState.RUNNING, 20, "open again")
            behind.append(offset - one.lane().inbox.fetch_offset)
        return found

    monkeypatch.setattr(reader_module, "fetch_leniently", slow_fetch)
    async with running(bench) as one:
        async with held(bench, LANE_ROWS):
            await publish(bench, commands(bench, 0, 1))
            await until(
                lambda: one.lane().inbox.is_busy and not len(one.lane().inbox), 20, "the first is held up in Postgres"
            )
            await publish_raw(bench, [raw(bench, n, *_bad_name(n == 3)) for n in range(5)], BAD)
            await asyncio.wait_for(release.wait(), 20)
        await bench.wait_for_results(6)
    assert behind == [3]
    assert sorted(int(one.cause.rpartition("/")[2]) for one in bench.results()) == list(range(6))


async def test_b8_what_was_drained_beside_a_bad_record_is_read_again(bench: Workbench) -> None:
    """A poll that fails in one partition forgets what it took from another; that lane goes back and misses nothing.

    Seen to fail while the position was asserted once for several polls: ten commands of the good partition were lost.
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

    Seen to fail without the CRC check of the lenient fetch: garbled bytes were taken as commands, and nobody noticed.
    """
    async with running(bench) as one:
        with monkeypatch.context() as wire:
            answer_fetches(wire, lambda records: records.replace(b"unit-", b"unjt-"))
            await asyncio.sleep(0.5)  # the fetch in flight is answered as it was
            await publish(bench, commands(bench, 0, 10))
            await until(lambda: one.reopenings() >= 2, 30, "reopenings on garbled records")
            assert "cannot be read" in one.lane().reason or one.lane().state is LaneState.RUNNING
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


async def test_b8_what_is_salvaged_is_the_record_as_it_was(bench: Workbench) -> None:
    """Key, null value, null headers and append time survive, also from a compressed batch; only bad names change.

    Seen to fail with a lenient fetch that calls every record unreadable: the first of these is not.
    """
    await set_topic(bench, bench.settings.topic_commands, "compression.type", "gzip")
    place = TopicPartition(bench.settings.topic_commands, 0)
    good = {**bench.command(tenant(0), 0, "good", partition=0), "key": b"key"}
    await publish(bench, [good, {"value": None, "headers": [("empty", None)], "partition": 0}])
    whole, null = await fetch_leniently(bench.settings, place, 0), await fetch_leniently(bench.settings, place, 1)
    assert (whole.key, whole.value, whole.headers, whole.unreadable) == (b"key", good["value"], good["headers"], None)
    assert (null.key, null.value, null.headers, null.offset) == (None, None, [("empty", None)], 1)
    assert 0 < whole.timestamp_ms <= null.timestamp_ms


async def test_b8_there_is_nothing_to_salvage_behind_the_end(bench: Workbench) -> None:
    """An offset without a record at it or behind it is a `LookupError`, on which the lane opens again."""
    with pytest.raises(LookupError):
        await fetch_leniently(bench.settings, TopicPartition(bench.settings.topic_commands, 0), 0)
