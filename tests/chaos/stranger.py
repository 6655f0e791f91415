"""Somebody who takes over transactional ids of others, as the brokers list them."""

import struct
from collections.abc import Iterable

from confluent_kafka import Producer

from tests.infrastructure.flexible_request import NO_TAGS, Answer, array

LIST_TRANSACTIONS = 66


async def transactional_ids(ports: Iterable[int], prefix: str) -> list[str]:
    """Those that begin with `prefix`, the newest producer last. A broker lists those that it coordinates."""
    transactions: list[tuple[int, str]] = []
    for port in ports:
        listed = await Answer.to(port, LIST_TRANSACTIONS, array() + array() + NO_TAGS)  # no filters
        listed.skip(struct.calcsize(">ih"))  # throttle time, error code
        for _ in range(listed.length()):
            listed.text()  # unknown filters
        transactions += [_transaction(listed) for _ in range(listed.length())]
    return [name for _, name in sorted(transactions) if name.startswith(prefix)]


def _transaction(listed: Answer) -> tuple[int, str]:
    """Producer id and transactional id."""
    name, producer_id = listed.text(), listed.long()
    listed.text()  # its state
    listed.skip_tags()
    return producer_id, name


def fence(servers: str, transactional_id: str) -> None:
    """InitProducerId: whoever has the id may not go on. Raises `KafkaException`."""
    settings = {"bootstrap.servers": servers, "transactional.id": transactional_id, "log_level": 0}
    Producer(settings).init_transactions(20)
