"""Commands as factories send them: an idempotency key each, parties on a fifth, companies mixed as a shape says."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from uuid import UUID

from confluent_kafka import Producer

from tests.benchmark.catalogue import FIELDS, PRODUCTS_A_COMPANY, BenchProduct, product

PARTIES = {
    "manufacturer": {"legalName": "EuroBat GmbH", "gln": "4012345000009", "country": "DE"},
    "importer": {
        "legalName": "Import et Cie",
        "legacyOperatorId": "FR-0815",
        "country": "FR",
        "url": "https://i.example",
    },
}
_PARTIES_EVERY = 5


@dataclass(frozen=True)
class Shape:
    """How commands spread: `hot_share` of them go to company 0, the rest evenly over all companies.

    Every partition holds commands of every company, unless `by_company`, as with the company as the record's key.
    `fields` are those of each template. With an `algorithm` commands are signed; else they have API keys. All are
    `altered` as `tests.benchmark.refused` says.
    """

    companies: int = 10
    products: int = PRODUCTS_A_COMPANY
    hot_share: float = 0.0
    by_company: bool = False
    fields: int = FIELDS
    algorithm: str | None = None
    altered: str | None = None


@dataclass(frozen=True)
class BenchCommand:
    """A record of a command topic: of the default channel's where no `topic` is named."""

    partition: int
    value: bytes
    headers: list[tuple[str, bytes]]
    topic: str = ""


def commands(count: int, shape: Shape, partitions: int, token: str) -> Iterator[BenchCommand]:
    """`count` valid commands; `token` makes serials and keys unique."""
    random = Random(token)
    for number in range(count):
        is_hot = random.random() < shape.hot_share
        company = 0 if is_hot else random.randrange(shape.companies)
        one = product(company, random.randrange(shape.products))
        partition = (company if shape.by_company else number) % partitions
        yield _command(one, number, partition, token, UUID(int=random.getrandbits(128)))


def _command(one: BenchProduct, number: int, partition: int, token: str, key: UUID) -> BenchCommand:
    body: dict[str, object] = {
        "productId": one.product_id,
        "gs1": {"gtin": one.gtin, "serialNumber": f"{token}-{number:08d}"},
    }
    if number % _PARTIES_EVERY == 0:
        body["parties"] = PARTIES
    headers = [("authorization", f"Bearer {one.api_key}".encode()), ("idempotency-key", str(key).encode())]
    return BenchCommand(partition, json.dumps(body).encode(), headers)


class Gate:
    """Commands that are on the topic, but that nobody may read yet: they stand in an open transaction.

    So start-up is over before the clock runs, and every contender has the same backlog at the same moment.
    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "transactional.id": f"{topic}.gate",
                "transaction.timeout.ms": 600_000,
                "linger.ms": 20,
            }
        )
        self._producer.init_transactions(60)

    def fill(self, stream: Iterator[BenchCommand]) -> None:
        """Publish commands behind the closed gate."""
        self._producer.begin_transaction()
        produce_all(self._producer, self._topic, stream)

    def open(self) -> None:
        """Make all of them readable at once."""
        self._producer.commit_transaction(60)


def produce_all(producer: Producer, topic: str, stream: Iterator[BenchCommand]) -> None:
    """Publish commands and wait until the broker has them."""
    for one in stream:
        while True:
            try:
                producer.produce(one.topic or topic, one.value, partition=one.partition, headers=list(one.headers))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0
