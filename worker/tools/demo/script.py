"""The commands of the simulated factories, and how factories react to results. Knows nothing of Kafka."""

import json
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.domain.gs1 import with_check_digit
from worker.tools.demo.makers import SHARES, Line, Maker

Header = tuple[str, bytes]

STORIES = {
    "fresh": 66,
    "replay": 8,
    "duplicate": 6,
    "key reused": 3,
    "invalid": 6,
    "foreign product": 2,
    "foreign gtin": 2,
    "unknown key": 3,
    "garbage": 4,
}
"""Weight of each story. A story that needs an existing passport becomes a fresh one while there is none."""

CONFIRMED_SHARE = 0.6
"""Share of overage offers that factories accept."""

_REMEMBERED = 200

_GARBAGE: tuple[bytes | None, ...] = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b'{"productId": "65de0000000000000',
    b'{"gs1": {}, "gs1": {}}',
    b"[1, 2, 3]",
    b"",
    None,
)


@dataclass(frozen=True, slots=True)
class Order:
    """A maker's request for a passport."""

    maker: Maker
    line: Line
    key: str
    body: dict[str, object]

    @property
    def serial(self) -> str:
        """The requested serial number."""
        gs1 = self.body["gs1"]
        assert isinstance(gs1, dict)
        return str(gs1["serialNumber"])


@dataclass(frozen=True, slots=True)
class Command:
    """A record to publish. `order` is None for strangers, who send garbage and guessed API keys."""

    story: str
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    order: Order | None = None


class Script:
    """Endless commands of all makers. `run` makes serial numbers and keys differ from those of other demos."""

    def __init__(self, makers: Sequence[Maker], run: str, chance: random.Random) -> None:
        self._makers = makers
        self._run = run
        self._chance = chance
        self._number = 0
        self._made: dict[str, deque[Order]] = {maker.name: deque(maxlen=_REMEMBERED) for maker in makers}
        self._confirmations: deque[Order] = deque()

    def next(self) -> Command:
        """The next command; confirmations of overage go first."""
        if self._confirmations:
            order = self._confirmations.popleft()
            return self._binary("confirmed", replace(order, body={**order.body, "confirmOverage": True}))
        [maker] = self._chance.choices(self._makers, [SHARES[maker.name] for maker in self._makers])
        [story] = self._chance.choices(list(STORIES), list(STORIES.values()))
        return self._tell(story, maker)

    def hear(self, command: Command, outcome: str) -> None:
        """React to the code of a result: remember what was made, and accept some overage offers."""
        if command.order is None:
            return
        if outcome == "created":
            self._made[command.order.maker.name].append(command.order)
        elif outcome == "overage-required" and self._chance.random() < CONFIRMED_SHARE:
            self._confirmations.append(command.order)

    def _tell(self, story: str, maker: Maker) -> Command:
        other = self._chance.choice([other for other in self._makers if other is not maker])
        made, theirs = self._made_by(maker), self._made_by(other)
        order = self._order(maker)
        match story:
            case "replay" if made:
                return self._binary(story, made)
            case "duplicate" if made:
                return self._binary(story, replace(made, key=self._key()))
            case "key reused" if made:
                return self._binary(story, replace(made, body=order.body))
            case "invalid":
                return self._binary(story, replace(order, body={**order.body, **self._flaw(order)}))
            case "foreign product":
                body = {**order.body, "productId": self._chance.choice(other.lines).product_id}
                return self._binary(story, replace(order, body=body))
            case "foreign gtin" if theirs:  # a registered GTIN: an unregistered one would become ours for good
                body = {**order.body, "gs1": {"gtin": theirs.line.gtin, "serialNumber": order.serial}}
                return self._binary(story, Order(maker, theirs.line, order.key, body))
            case "unknown key":
                headers = [("authorization", b"Bearer tp_demo_guessed"), ("idempotency-key", order.key.encode())]
                return Command(story, order.line.gtin.encode(), _json(order.body), headers)
            case "garbage":
                headers = [("authorization", f"Bearer {maker.api_key}".encode()), ("x-scanner", b"\xfe\xff")]
                return Command(story, b"scanner", self._chance.choice(_GARBAGE), headers)
        return self._structured(order) if self._chance.random() < 0.15 else self._binary("fresh", order)

    def _flaw(self, order: Order) -> dict[str, object]:
        """Fields that make an order's body invalid."""
        gtin, last = order.line.gtin, int(order.line.gtin[-1])
        return self._chance.choice(
            [
                {"gs1": {"gtin": f"{gtin[:-1]}{(last + 1) % 10}", "serialNumber": order.serial}},
                {"gs1": {"gtin": gtin[1:], "serialNumber": order.serial}},
                {"gs1": {"gtin": gtin, "serialNumber": ""}},
                {"parties": {"recycler": {"legalName": "Somebody"}}, "confirmOverage": "yes"},
            ]
        )

    def _order(self, maker: Maker) -> Order:
        line = self._chance.choice(maker.lines)
        self._number += 1
        serial = f"{self._run}-{self._number:06d}"
        body: dict[str, object] = {"productId": line.product_id, "gs1": {"gtin": line.gtin, "serialNumber": serial}}
        if self._chance.random() < 0.3:
            body["parties"] = {
                "manufacturer": {"legalName": maker.name, "gln": maker.gln},
                "distributor": {
                    "legalName": "Example Trade SA",
                    "gln": with_check_digit("952000900001"),
                    "country": "BE",
                },
            }
        return Order(maker, line, self._key(), body)

    def _key(self) -> str:
        return f"{self._run}-{self._chance.getrandbits(48):012x}"

    def _made_by(self, maker: Maker) -> Order | None:
        made = self._made[maker.name]
        return self._chance.choice(made) if made else None

    def _headers(self, order: Order) -> list[Header]:
        trace = f"00-{self._chance.getrandbits(128):032x}-{self._chance.getrandbits(64):016x}-01"
        return [
            ("authorization", f"Bearer {order.maker.api_key}".encode()),
            ("idempotency-key", order.key.encode()),
            ("traceparent", trace.encode()),
        ]

    def _binary(self, story: str, order: Order) -> Command:
        headers = [*self._headers(order), ("content-type", b"application/json")]
        return Command(story, order.line.gtin.encode(), _json(order.body), headers, order)

    def _structured(self, order: Order) -> Command:
        """CloudEvents 1.0 structured mode. Its `data` is the body, so a binary replay of it is the same command."""
        event = {
            "specversion": "1.0",
            "id": order.key,
            "source": "/factories/demo",
            "type": "eu.tracepass.passport.create.v1",
            "datacontenttype": "application/json",
            "data": order.body,
        }
        headers = [*self._headers(order), ("content-type", b"application/cloudevents+json; charset=utf-8")]
        return Command("fresh", order.line.gtin.encode(), _json(event), headers, order)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
