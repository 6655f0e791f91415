"""Commands of every kind at random, and a thread that publishes them, whatever becomes of the broker meanwhile."""

import threading
import time
from collections.abc import Mapping
from random import Random
from typing import Any, Self

from confluent_kafka import KafkaException, Producer

from tests.workbench import Workbench, add_tenant, tenant

QUOTA = 200
"""Passports, or writes a day, of the tenants that have little."""

_FULL, _BLOCKED, _LIMITED, _UNPAID = (tenant(number) for number in range(6, 10))
_GTINS_A_TENANT = 20
_MEMORY = 3000
"""So many commands back lies at most the one that is repeated."""

_AT_ONCE, _BURSTS_A_TICK = 2000, 0.002
"""So many commands come at once, and so often: every ten seconds or so."""

KINDS = {
    "new": 60,
    "new, of a tenant with little quota": 8,
    "repeated with its key": 10,
    "serial that is taken": 8,
    "key with another body": 2,
    "GTIN of another tenant": 3,
    "garbage": 3,
    "tombstone": 1,
    "unknown credentials": 2,
    "invalid field": 2,
    "product of another tenant": 1,
}
"""How often a kind of command comes, in percent."""


async def prepare(bench: Workbench) -> None:
    """Give tenants 6 to 9 little quota, of each kind; those before have no limits."""
    connection = await bench.connect()
    try:
        await add_tenant(connection, _FULL, max_dpps=QUOTA, overage_price_cents=75)
        await add_tenant(connection, _BLOCKED, max_dpps=QUOTA)
        await add_tenant(connection, _LIMITED, max_writes=QUOTA)
        await add_tenant(connection, _UNPAID, subscription="past_due")
    finally:
        await connection.close()


class Mix:
    """The commands of a run: the one of a number is always the same for a seed."""

    def __init__(self, bench: Workbench, seed: int) -> None:
        self._bench, self._seed = bench, seed
        self._lanes = bench.lanes

    def command(self, number: int) -> dict[str, object]:
        """Keyword arguments of `Producer.produce`; repeated ones go to any lane of any channel."""
        dice = Random(f"{self._seed}-{number}")
        (kind,) = dice.choices(list(KINDS), list(KINDS.values()))
        earlier = number - dice.randrange(min(number, _MEMORY) + 1)
        topic, partition = self._lanes[self._lane(number, dice)]
        return {**self._of_kind(kind, number, earlier, dice), "topic": topic, "partition": partition}

    def _lane(self, number: int, dice: Random) -> int:
        """Any; but now and then most commands go to one for a while, whose transactions become large."""
        at_once = Random(f"{self._seed}-{number // _AT_ONCE}")
        hot, is_hot = at_once.randrange(len(self._lanes)), at_once.random() < 0.25
        return hot if is_hot and dice.random() < 0.7 else dice.randrange(len(self._lanes))

    def _of_kind(self, kind: str, number: int, earlier: int, dice: Random) -> dict[str, object]:  # noqa: C901 - one case a kind
        one, unit = tenant(dice.randrange(6)), self._unit
        match kind:
            case "new, of a tenant with little quota":
                owner, confirms = dice.randrange(6, 10), dice.random() < 0.2
                place = owner * _GTINS_A_TENANT
                return self._bench.command(tenant(owner), place, f"u{number}", confirmOverage=confirms)
            case "repeated with its key":
                return unit(earlier)
            case "serial that is taken":
                return unit(earlier, key=f"again-{number}")
            case "key with another body":
                return unit(earlier, serial=f"u{number}")
            case "GTIN of another tenant":
                return self._bench.command(tenant(4), dice.randrange(3) * _GTINS_A_TENANT, f"u{number}")
            case "garbage":
                return {"value": dice.randbytes(40), "headers": [("authorization", one.authorization), ("x", None)]}
            case "tombstone":
                return {"value": None, "headers": [("authorization", one.authorization)], "key": b"tombstone"}
            case "unknown credentials":
                return {**unit(number), "headers": [("authorization", b"Bearer tp_secret_of_nobody")]}
            case "invalid field":
                return unit(number, serial="")
            case "product of another tenant":
                return self._bench.command(one, 0, f"u{number}", productId=tenant(9).product_id)
        return unit(number)

    def _unit(self, number: int, *, serial: str | None = None, key: str | None = None) -> dict[str, object]:
        """The new unit of that number, the same each time; most have an idempotency key."""
        dice = Random(f"{self._seed}-unit-{number}")
        owner = dice.randrange(6)
        own = f"k{number}" if dice.random() < 0.8 else None
        place = owner * _GTINS_A_TENANT + dice.randrange(_GTINS_A_TENANT)
        return self._bench.command(tenant(owner), place, f"u{number}" if serial is None else serial, key=key or own)


class Publisher:
    """Publishes `rate` commands a second, and bursts, up to `goal`; beyond it half of `rate`.

    What it is not sure of it sends again, which the broker notices (idempotent producer); what counts is what the topic
    has in the end.
    """

    def __init__(self, bench: Workbench, mix: Mix, rate: float, seed: int) -> None:
        self.goal = 0
        self.sent = 0
        self._mix, self._rate, self._dice = mix, rate, Random(f"{seed}-bursts")
        self._servers = bench.settings.kafka_bootstrap_servers
        self._producer = self._new_producer()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="commands", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def finish(self, total: int) -> None:
        """Publish what is missing of `total` at once, and wait until the broker has all. Raises `TimeoutError`."""
        self._stopping.set()
        self._thread.join(30)
        while self.sent < total:
            self._send()
        if left := self._producer.flush(120):
            raise TimeoutError(f"{left} commands could not be published")

    def _publish(self) -> None:
        owed, last = 0.0, time.monotonic()
        while not self._stopping.wait(0.02):
            now = time.monotonic()
            pace = self._rate if self.sent < self.goal else self._rate / 2
            owed, last = owed + pace * (now - last), now
            if self._dice.random() < _BURSTS_A_TICK and self.sent < self.goal:
                owed += _AT_ONCE
            while owed >= 1 and not self._stopping.is_set():
                self._send()
                owed -= 1

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._servers,
                "enable.idempotence": True,
                "message.timeout.ms": 600_000,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def _send(self) -> None:
        command: Mapping[str, Any] = self._mix.command(self.sent)
        self.sent += 1
        while True:
            try:
                self._producer.produce(**command)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException:  # it has given up for good; what it still held is not sent
                self._producer = self._new_producer()
        self._producer.poll(0)
