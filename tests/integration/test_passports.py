"""`worker.testing` says what the real worker says, byte for byte, of the same records at the same places and times."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from tests.operations.mixture import limit_tenants, mixture
from tests.signing import add_signing_key, signed, signer_of
from tests.workbench import Workbench, add_tenant, run_command, tenant
from worker.domain.outcomes import Forbidden
from worker.messages.rules import CODES, REFUSALS
from worker.testing import Passports

COUNT = 300


def _commands(bench: Workbench) -> list[Message]:
    """What stands in partition 0 of the command topic, with its times."""
    consumer = Consumer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "group.id": "none"})
    try:
        consumer.assign([TopicPartition(bench.settings.topic_commands, 0, 0)])
        messages: list[Message] = []
        while len(messages) < COUNT:
            messages += consumer.consume(COUNT - len(messages), 20)
            assert messages, "the commands cannot be read"
        return messages
    finally:
        consumer.close()


@pytest.mark.real_kafka
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_result_is_the_workers(bench: Workbench, tmp_path: Path, seed: int) -> None:
    """300 records of every outcome that API keys lead to, and dead letters; the catalogue is what the verb exports.

    And two that are signed, one of which says more than its record.
    """
    await limit_tenants(bench)
    await add_signing_key(bench, tenant(0))
    connection = await bench.connect()
    await add_tenant(connection, tenant(4), subscription="past_due")
    await connection.close()
    file = tmp_path / "catalogue.json"
    exported = await asyncio.to_thread(run_command, "catalogue", "export", **bench.environment)
    file.write_text(exported.stdout, encoding="utf-8")
    signer = signer_of(tenant(0), bench.settings.topic_commands)
    command = bench.command(tenant(0), 0, "signed", key="signed")
    commands = [*mixture(seed, COUNT - 2), signed(command, signer), signed(command, signer, key="another")]
    bench.publish({**one, "partition": 0} for one in commands)
    bench.start_worker(tmp_path / "worker.log")
    results = {one.cause: one for one in await bench.wait_for_results(COUNT)}
    letters = {one.header("dlq-original-offset"): one for one in bench.read([bench.dead_letters])}

    passports, seen = Passports(file, bench.settings), set[str]()
    for message in _commands(bench):
        offset, (_, ms) = message.offset() or 0, message.timestamp()
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
        headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
        said = passports.answer(message.value(), headers, at, key=message.key(), place=(0, offset))
        real = results.pop(f"{bench.settings.topic_commands}/0/{offset}")
        assert (said.topic, said.key, said.value) == (real.topic, real.key, real.value)
        assert said.headers == list(real.headers)
        copy = letters.pop(str(offset), None)
        assert said.dead_letter == (copy and (copy.key, copy.value, list(copy.headers)))
        seen.add(said.outcome)
    assert (results, letters) == ({}, {})
    assert seen == set(CODES) - {REFUSALS[Forbidden].code}
