"""The pages for producers are right about results: how to match them with commands, and what a 422 means."""

import asyncio
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer

from tests.integration.test_clients import PROGRAMS, command_of, printed_results
from tests.schema_checks import SCHEMAS
from tests.workbench import REPOSITORY, Result, Workbench, run_command, tenant
from worker.settings import Settings


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
    """By the place in its delivery report; the page names both spellings of a place, and what also has the key."""
    bench.start_worker(tmp_path / "worker.log")
    commands = (bench.command(tenant(0), 0, "1", key="k"), bench.command(tenant(0), 0, "2"))
    (_, (partition, offset)) = places = _published(bench, *commands)
    with_key, without = sorted(await bench.wait_for_results(2), key=lambda result: result.offset)
    topic = bench.settings.topic_commands
    assert (with_key.key, without.key) == (b"k", f"{topic}:{partition}:{offset}".encode())
    assert [with_key.cause, without.cause] == [f"{topic}/{one}/{at}" for one, at in places]
    page = _page("read-results.md")
    assert "`<topic>:<partition>:<offset>`" in page
    assert "the header `ce_causationid`, as `<topic>/<partition>/<offset>`" in page
    assert "the key also fits earlier attempts and, on shared topics, other companies' results" in page


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_takes_no_strangers_answer_as_its_own(bench: Workbench, tmp_path: Path, name: str) -> None:
    """Another command under the same key is answered first, as on shared topics. No worker runs: the test answers.

    Seen to fail before: programs compared the key alone, and printed the stranger's refusal.
    """
    file = tmp_path / "key.pem"
    await asyncio.to_thread(run_command, "keys", "generate", str(file))
    signing = {"PASSPORT_SIGNING_KEY": str(file), "PASSPORT_SIGNING_KID": "k"}
    servers = {"KAFKA_BOOTSTRAP_SERVERS": bench.settings.kafka_bootstrap_servers}
    environment = {**os.environ, **bench.environment, **servers, **signing}
    printed, offset = await _printed_behind_a_stranger(bench, command_of(name), environment)
    assert [json.loads(match["body"]) for match in printed_results(printed)] == [{"offset": offset}]


async def test_the_tutorials_java_takes_no_strangers_answer_as_its_own(bench: Workbench, tmp_path: Path) -> None:
    """As above. Its topics have the usual names, so the test puts its own there."""
    (program,) = re.findall(
        r"```java\n(.*?)```", (SCHEMAS / "first-passport.md").read_text(encoding="utf-8"), re.DOTALL
    )
    usual, topics = Settings.model_construct(), bench.settings
    names = zip(
        (usual.topic_commands, *usual.result_topics), (topics.topic_commands, *topics.result_topics), strict=True
    )
    for name, own in names:
        program = program.replace(f'"{name}"', f'"{own}"')
    (tmp_path / "First.java").write_text(program, encoding="utf-8")
    command = [*command_of("First.java")[:-1], str(tmp_path / "First.java"), "tp", "product", "gtin", "serial"]
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": topics.kafka_bootstrap_servers}
    printed, offset = await _printed_behind_a_stranger(bench, command, environment)
    assert printed.split(maxsplit=1)[1:] == [f'{{"offset": {offset}}}\n']


async def _printed_behind_a_stranger(
    bench: Workbench, command_line: list[str], environment: dict[str, str]
) -> tuple[str, int]:
    """What the program prints, and the offset of its command, when a result of another command has the same key."""
    topics = bench.settings
    with _started(command_line, environment) as program:
        try:
            command = await _wait_for_command(bench, program)
            key = command.header("idempotency-key")
            producer = Producer({"bootstrap.servers": topics.kafka_bootstrap_servers})
            for offset in (command.offset + 7, command.offset):
                cause = f"{command.topic}/{command.partition}/{offset}"
                headers = {"ce_type": "eu.tracepass.passport.rejected.v1", "ce_causationid": cause}
                body = json.dumps({"offset": offset})
                producer.produce(topics.topic_rejected, body, key, headers=list(headers.items()), partition=0)
            assert producer.flush(30) == 0
            printed, _ = await asyncio.to_thread(program.communicate, timeout=60)
        finally:
            program.kill()
    return printed, command.offset


def _started(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


async def _wait_for_command(bench: Workbench, program: subprocess.Popen[str]) -> Result:
    deadline = time.monotonic() + 60
    while not (commands := await asyncio.to_thread(bench.read, [bench.settings.topic_commands])):
        assert program.poll() is None
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    return commands[0]


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
