"""The pages for producers are right about results: how to match them with commands, and what a 422 means."""

from pathlib import Path

from confluent_kafka import Message, Producer

from tests.workbench import REPOSITORY, Workbench, tenant


def _page(name: str) -> str:
    return " ".join((REPOSITORY / "schemas" / name).read_text(encoding="utf-8").split())


def _published(bench: Workbench, *commands: dict[str, object]) -> list[tuple[int, int]]:
    """Partition and offset of each, from the delivery reports."""
    delivered: list[Message] = []
    producer = Producer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    for command in commands:
        producer.produce(
            bench.settings.topic_commands,
            partition=0,
            on_delivery=lambda error, message: delivered.append(message),
            **command,  # type: ignore[arg-type]
        )
    assert producer.flush(30) == 0
    return [(message.partition() or 0, message.offset() or 0) for message in delivered]


async def test_a_result_is_matched_to_its_command_as_the_page_says(bench: Workbench, tmp_path: Path) -> None:
    """By its idempotency key, or by the place in its delivery report, in two spellings; the page names both."""
    bench.start_worker(tmp_path / "worker.log")
    commands = (bench.command(tenant(0), 0, "1", key="k"), bench.command(tenant(0), 0, "2"))
    (_, (partition, offset)) = places = _published(bench, *commands)
    with_key, without = sorted(await bench.wait_for_results(2), key=lambda result: result.offset)
    topic = bench.settings.topic_commands
    assert (with_key.key, without.key) == (b"k", f"{topic}:{partition}:{offset}".encode())
    assert [with_key.cause, without.cause] == [f"{topic}/{one}/{at}" for one, at in places]
    page = _page("read-results.md")
    assert "`<topic>:<partition>:<offset>`" in page
    assert "`ce_causationid` as well, there with slashes: `<topic>/<partition>/<offset>`" in page


async def test_a_file_that_is_sent_again_with_a_confirmation_is_answered_as_the_page_says(
    bench: Workbench, tmp_path: Path
) -> None:
    """422 for what was created; the original body brings its event again."""
    bench.start_worker(tmp_path / "worker.log")
    first = bench.command(tenant(1), 1, "1", key="k")
    confirmed = bench.command(tenant(1), 1, "1", key="k", confirmOverage=True)
    _published(bench, first, confirmed, first)
    results = sorted(await bench.wait_for_results(3), key=lambda result: result.cause)
    created, refused, again = results
    assert (bench.label_of(created.topic), refused.body["status"]) == ("created", 422)
    assert (again.value, again.header("idempotency-replayed")) == (created.value, "true")
    told = "sent again with `confirmOverage: true` in each body, units that were created before answer 422"
    assert told in _page("publish.md")
