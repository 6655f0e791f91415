"""Channels: one group of workers answers the commands of several topics, each on the topics of its own channel."""

import asyncio
from pathlib import Path

from tests.conftest import MakeBench
from tests.invariants import check_invariants
from tests.workbench import tenant

COMPANY, OTHER = tenant(1), tenant(2)
CHANNELS = {"": 2, "acme": 3, "globex": 1}
"""Their numbers of partitions."""


async def test_answers_go_to_the_channel_of_their_command(make_bench: MakeBench, tmp_path: Path) -> None:
    """In the partition of the same number. Serial numbers and idempotency keys are the company's, on any channel."""
    bench = await make_bench(partitions=CHANNELS[""])
    for name, partitions in CHANNELS.items():
        if name:
            await bench.add_channel(name, partitions)
    for name, partitions in CHANNELS.items():
        bench.publish(
            (
                bench.command(COMPANY, 1, f"{name}-{at}-{n}", partition=at)
                for at in range(partitions)
                for n in range(30)
            ),
            name,
        )
        bench.publish([bench.command(OTHER, 2, "same", key="k", partition=0)], name)
        bench.publish([{"value": b"{", "key": b"odd", "partition": 0}], name)
    bench.start_worker(tmp_path / "worker.log")
    results = await bench.wait_for_results(6 * 30 + 2 * 3)
    for result in results:
        topic, partition, _ = result.cause.split("/")
        assert result.topic.removesuffix(bench.label_of(result.topic)) == topic.removesuffix("create")
        assert result.partition == int(partition)
    replays = [result for result in results if result.header("idempotency-replayed") == "true"]
    assert len(replays) == 2, "the key is the company's, so two of three channels repeat the event of the first"
    for name in CHANNELS:
        (letter,) = bench.read([bench.settings.of_channel(name).dead_letter_topic])
        assert letter.header("dlq-original-topic") == bench.settings.of_channel(name).topic_commands
    await check_invariants(bench)


async def test_a_worker_of_one_channel_more_serves_it_beside_one_that_does_not_know_it(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """As during a rolling restart. Lanes that nobody serves wait, and go on where they stood."""
    bench = await make_bench(partitions=2)
    bench.start_worker(tmp_path / "old.log")
    bench.publish(bench.command(COMPANY, 1, f"a-{n}", partition=n % 2) for n in range(20))
    await bench.wait_for_results(20)
    await bench.add_channel("acme", 3)
    newer = bench.start_worker(tmp_path / "new.log")
    bench.publish((bench.command(COMPANY, 1, f"b-{n}", partition=n % 3) for n in range(30)), "acme")
    bench.publish(bench.command(COMPANY, 1, f"c-{n}", partition=n % 2) for n in range(20))
    await bench.wait_for_results(70)
    bench.stop_worker(newer)
    bench.publish((bench.command(COMPANY, 1, f"d-{n}", partition=n % 3) for n in range(30)), "acme")
    bench.publish(bench.command(COMPANY, 1, f"e-{n}", partition=n % 2) for n in range(20))
    assert len(await bench.wait_for_results(90)) == 90, "the channel is not served"
    bench.start_worker(tmp_path / "newer.log")
    await bench.wait_for_results(120)
    await check_invariants(bench)


async def test_killed_workers_of_several_channels_double_nothing(make_bench: MakeBench, tmp_path: Path) -> None:
    """The lanes of all channels are fenced and opened by the next worker."""
    bench = await make_bench(partitions=2, PASSPORT_BATCH_RECORDS="50")
    await bench.add_channel("acme", 3)
    for point in ("acks", "after COMMIT", "EndTxn sent", "begin"):
        for name in ("", "acme"):
            bench.publish((bench.command(COMPANY, 1, f"{name}-{point}-{at}") for at in range(200)), name)
        worker = bench.start_worker(tmp_path / f"{point}.log", f"{point}:2:kill")
        await asyncio.to_thread(worker.wait, 30)
        bench.workers.remove(worker)
    bench.start_worker(tmp_path / "last.log")
    await bench.wait_for_results(4 * 2 * 200)
    await check_invariants(bench)
