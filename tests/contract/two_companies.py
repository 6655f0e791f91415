"""Two companies with like data in one database, each on a channel of its own, and both on the default channel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from worker.store.facts import key_id
from worker.store.sql import Connection

GROUP = "g"
SERIAL, KEY, HOLDER = "s-1", "k-1", "p-1"
"""Both companies use them."""
SHARED_LANE = 9
"""Of the default channel: offset 0 is the first company's, offset 1 the second's."""
TODAY = datetime.now(UTC).date()
NOON = datetime.combine(TODAY, datetime.min.time(), UTC)


@dataclass(frozen=True, slots=True)
class Company:
    """All that names rows of a company."""

    letter: str
    number: int
    gtin: str

    @property
    def id(self) -> str:
        """Also of its product and its template, which are other tables."""
        return self.letter * 24

    @property
    def plan(self) -> str:
        """A plan of its own, so that an export of it shows nobody else's."""
        return f"plan-{self.letter}"

    @property
    def topic(self) -> str:
        """The command topic of its channel."""
        return f"{self.letter}.commands"

    @property
    def digest(self) -> bytes:
        """Of its API key."""
        return sha256(self.letter.encode()).digest()

    @property
    def kid(self) -> str:
        """Of its signing key."""
        return self.letter * 43

    @property
    def passport(self) -> bytes:
        """The id of its passport."""
        return self.digest[:12]

    @property
    def frame(self) -> bytes:
        """The id of its passport's frame."""
        return self.digest[:16]

    @property
    def key(self) -> bytes:
        """The id of its idempotency key."""
        return key_id(self.id, KEY)

    @property
    def lane(self) -> int:
        """The id of partition 0 of its channel."""
        return self.number

    @property
    def operation(self) -> UUID:
        """Of an operator, on its channel."""
        return UUID(int=self.number)


US, THEM = Company("a", 1, "00000000000017"), Company("b", 2, "00000000000024")

OWNED: Mapping[str, Callable[[Company], str]] = {
    "redrive": lambda one: f"topic = '{one.topic}'",
    "operation": lambda one: f"arguments ->> 'topic' = '{one.topic}'",
    "dead_letter": lambda one: f"lane_id = {one.lane}",
    "ledger": lambda one: f"company_id = '{one.id}'",
    "lane": lambda one: f"topic = '{one.topic}'",
    "idempotency_key": lambda one: f"company_number = {one.number}",
    "overage_charge": lambda one: f"company_number = {one.number}",
    "passport": lambda one: f"company_number = {one.number}",
    "passport_frame": lambda one: f"product_id = '{one.id}'",
    "gtin_registration": lambda one: f"company_id = '{one.id}'",
    "daily_writes": lambda one: f"company_number = {one.number}",
    "company_day": lambda one: f"company_id = '{one.id}'",
    "company_usage": lambda one: f"company_number = {one.number}",
    "product": lambda one: f"company_id = '{one.id}'",
    "signing_key": lambda one: f"company_id = '{one.id}'",
    "api_key": lambda one: f"company_id = '{one.id}'",
    "company": lambda one: f"id = '{one.id}'",
    "template": lambda one: f"id = '{one.id}'",
    "plan": lambda one: f"id = '{one.plan}'",
}
"""The tables with rows of companies, and which rows are those of a company. No row refers to one of a later table."""

OF_NOBODY = {
    "activity": "counts of a worker, with all of its companies",
    "catalogue_version": "renewed by each change of any company's reference data",
    "oauth_key_set": "public keys of authorization servers",
    "schema_migration": "the version of the database",
}
"""The tables without rows of a company."""


async def rows_of(connection: Connection, company: Company) -> Mapping[str, Sequence[str]]:
    """Every row of a company, as text."""
    return {
        table: [
            row for (row,) in await connection.fetch(f"SELECT t::text FROM {table} t WHERE {own(company)} ORDER BY 1")
        ]
        for table, own in OWNED.items()
    }


async def remove(connection: Connection, company: Company) -> None:
    """Leave the database as it would be without this company."""
    for table, own in OWNED.items():
        await connection.execute(f"DELETE FROM {table} WHERE {own(company)}")


async def add(connection: Connection, one: Company) -> None:
    """Write rows of a company into each of the tables."""
    rows: dict[str, list[tuple[object, ...]]] = {
        "plan": [(one.plan, 2, 75, 10)],
        "company (id, name, plan_id, subscription, number)": [
            (one.id, f"Company {one.letter}", one.plan, "active", one.number)
        ],
        "api_key": [(one.digest, one.id, one.letter, None)],
        "signing_key": [(one.kid, one.id, "{}", one.letter, None, None)],
        "template": [(one.id, "battery", 1, "[]")],
        "product": [(one.id, one.id, one.id, one.letter, "m", "{}")],
        "company_usage": [(one.number, 5)],
        "daily_writes": [(one.number, TODAY, 1, TODAY)],
        "company_day": [(TODAY, one.id, GROUP, "member", 5, 5, None)],
        "gtin_registration": [(one.gtin, one.id)],
        "passport_frame": [(one.frame, one.id, one.id, f'{{"of":"{one.letter}"}}')],
        "passport": [(NOON, one.passport, one.number, one.gtin, SERIAL, one.frame, None, None)],
        "overage_charge": [(one.passport, one.number, 75, NOON)],
        "idempotency_key": [(one.key, TODAY, one.digest, one.passport, NOON, one.number)],
        "lane (id, group_id, topic, partition, epoch, applied, emitted, ledger_from, producers)": [
            (one.lane, GROUP, one.topic, 0, 1, 2, 0, 0, [HOLDER]),
        ],
        "ledger": [
            (one.lane, 0, TODAY, NOON, 1, False, KEY, one.id, one.passport, None, None, None),
            (one.lane, 1, TODAY, NOON, 4, False, KEY, one.id, None, None, None, one.id.encode()),
            (SHARED_LANE, one.number - 1, TODAY, NOON, 4, False, KEY, one.id, None, None, None, one.id.encode()),
        ],
        "dead_letter": [(one.lane, 1, TODAY, "reason", one.id.encode(), one.id.encode(), [], [])],
        "operation (id, verb, who, reason, arguments)": [
            (
                one.operation,
                "replay",
                one.letter,
                "r",
                f'{{"topic": "{one.topic}", "repeats": [[0, 0, {one.number}]]}}',
            ),
        ],
        "redrive": [(one.topic, 0, 1, 1, one.operation, 7, 7 + one.number)],
    }
    for target, values in rows.items():
        places = ", ".join(f"${at}" for at in range(1, len(values[0]) + 1))
        forced = "OVERRIDING SYSTEM VALUE" if target.startswith("lane") else ""
        await connection.executemany(f"INSERT INTO {target} {forced} VALUES ({places})", values)
