"""The invariants (DESIGN: What always holds), checked against Kafka and Postgres from the outside."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from tests.schema_checks import check_event
from tests.workbench import LABELS, Result, Workbench
from worker.store.sql import Connection


async def check_invariants(bench: Workbench, *, reemitted: bool = False) -> list[Result]:
    """Check I1-I8 for an idle worker group; returns the results.

    `reemitted`: an operator reset offsets back, so results may be there more than once, but only with the same bytes.
    """
    results = bench.results()
    await check_account(bench, await account_of(bench, results), reemitted=reemitted)
    return results


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a result, so that a million of them fit into memory: `value` and `record` are SHA-256."""

    label: str
    key: bytes
    value: bytes
    record: bytes
    replayed: bool


@dataclass
class Account:
    """What results came to, each of which was read once. Commands are told by their `<topic>/<partition>/<offset>`."""

    asked: set[str]
    companies: set[str]
    once: dict[str, Seen] = field(default_factory=dict)
    results: Counter[str] = field(default_factory=Counter)
    created: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    of_others: list[str] = field(default_factory=list)
    leaking: list[str] = field(default_factory=list)
    _last: dict[tuple[str, int, str], int] = field(default_factory=dict)

    @property
    def lost(self) -> set[str]:
        """Commands without a result."""
        return self.asked - self.once.keys()

    def add(self, one: Result, label: str) -> None:
        """Note a result; those of a partition come in the order of their offsets."""
        text = repr((one.topic, one.key, one.value, one.headers))
        if "tp_secret" in text:
            self.leaking.append(one.cause)
        check_event(label, one.value or b"")
        self.results[label] += 1
        seen = Seen(
            label,
            one.key or b"",
            sha256(one.value or b"").digest(),
            sha256(text.encode()).digest(),
            one.header("idempotency-replayed") == "true",
        )
        if (first := self.once.setdefault(one.cause, seen)) is not seen:
            self.doubled.append(one.cause)
            if first.record != seen.record:
                self.differing.append(one.cause)
            return
        self._note_order(one)
        if {name.decode() for name in _ID.findall(one.value or b"")} & self.companies - {one.header("ce_companyid")}:
            self.of_others.append(one.cause)
        if label == "created" and not seen.replayed:
            self.created.append(one.header("ce_subject") or "")

    def _note_order(self, one: Result) -> None:
        source, _, offset = one.cause.rpartition("/")
        stream = (one.topic, one.partition, source)
        if int(offset) < self._last.get(stream, -1):
            self.disordered.append(one.cause)
        self._last[stream] = int(offset)


_ID = re.compile(rb'"([0-9a-f]{24})"')


async def account_of(bench: Workbench, results: Iterable[Result]) -> Account:
    """Read `results` once, and the places of all commands. They may be more than fit into memory."""
    connection = await bench.connect()
    try:
        companies = {row["id"] for row in await connection.fetch("SELECT id FROM company")}
    finally:
        await connection.close()
    commands = bench.stream([*bench.settings.by_commands])
    account = Account({f"{one.topic}/{one.partition}/{one.offset}" for one in commands}, companies)
    for one in results:
        account.add(one, bench.label_of(one.topic))
    return account


async def check_account(bench: Workbench, account: Account, *, reemitted: bool = False) -> None:
    """Check I1-I8 for an idle worker group whose results are in the account; `reemitted` as above."""
    _i1_one_result_each(account, reemitted)
    _none(account.disordered if not reemitted else [], "out of order")
    connection = await bench.connect()
    try:
        async with connection.transaction():
            await _i3_ledger_is_what_kafka_has(connection, account)
            await _i4_ledger_is_complete(connection, account)
            await _i5_counters(connection)
            await _i6_created_are_passports(connection, account)
            _none(account.of_others, "with a company's data in another's result")
            await _i8_no_credentials(bench, connection, account)
            await _dead_letters_come_once(bench, connection, reemitted)
    finally:
        await connection.close()


def _none(found: Iterable[str], what: str) -> None:
    some = sorted(found)
    assert not some, f"{len(some)} {what}: {some[:5]}"


def _i1_one_result_each(account: Account, reemitted: bool) -> None:
    _none(account.lost, "lost")
    _none(account.once.keys() - account.asked, "unasked")
    _none(account.doubled if not reemitted else account.differing, "doubled")


_LEDGER = """
SELECT l.topic || '/' || l.partition || '/' || r."offset" AS cause, r.kind, r.key, r.replayed,
       sha256(coalesce(r.value, p.created_body)) AS value
  FROM ledger r JOIN lane l ON l.id = r.lane_id LEFT JOIN passport p ON p.id = r.passport_id
"""


async def _i3_ledger_is_what_kafka_has(connection: Connection, account: Account) -> None:
    rows = 0
    async for row in connection.cursor(_LEDGER, prefetch=5000):
        rows += 1
        seen, cause = account.once.get(row["cause"]), row["cause"]
        assert seen is not None, f"{cause} is in the ledger alone"
        assert (seen.key, seen.value) == (row["key"].encode(), row["value"]), cause
        assert (seen.label, seen.replayed) == (LABELS[row["kind"] - 1], row["replayed"]), cause
    assert rows == len(account.once)


async def _i4_ledger_is_complete(connection: Connection, account: Account) -> None:
    lanes = await connection.fetch("SELECT topic, partition, applied FROM lane")
    applied = {f"{lane['topic']}/{lane['partition']}": lane["applied"] for lane in lanes}
    for cause in account.asked:
        place, _, offset = cause.rpartition("/")
        assert int(offset) < applied[place], f"{cause} is not below the position {applied[place]}"


async def _i5_counters(connection: Connection) -> None:
    wrong = await connection.fetch(
        """
        SELECT c.number
          FROM company_usage u JOIN company c ON c.number = u.company_number JOIN plan p ON p.id = c.plan_id
         WHERE u.slots_used <> (SELECT count(*) FROM passport WHERE company_number = c.number)
            OR u.slots_used - coalesce(p.max_dpps, u.slots_used)
               > (SELECT count(*) FROM overage_charge WHERE company_number = c.number)
        UNION
        SELECT company_number FROM (
            SELECT company_number, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS writes
              FROM passport GROUP BY 1, 2
        ) AS made FULL JOIN daily_writes USING (company_number, day)
         WHERE made.writes IS DISTINCT FROM daily_writes.writes
        """
    )
    assert not wrong, wrong


async def _i6_created_are_passports(connection: Connection, account: Account) -> None:
    created = set(account.created)
    assert len(created) == len(account.created)
    assert created == {row["id"].hex() async for row in connection.cursor("SELECT id FROM passport", prefetch=5000)}
    wrong = await connection.fetch(
        """
        SELECT gtin FROM passport GROUP BY gtin, serial HAVING count(*) > 1
        UNION
        SELECT gtin FROM (
            SELECT DISTINCT gtin, c.id AS company_id FROM passport JOIN company c ON c.number = company_number
        ) AS made
          FULL JOIN gtin_registration AS registered USING (gtin)
         WHERE made.company_id IS DISTINCT FROM registered.company_id
        """
    )
    assert not wrong, wrong


async def _i8_no_credentials(bench: Workbench, connection: Connection, account: Account) -> None:
    _none(account.leaking, "with credentials")
    for (table,) in await connection.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"):
        leaks = await connection.fetchval(
            f"SELECT count(*) FROM \"{table}\" AS t WHERE t::text LIKE '%tp_secret%' "
            f"OR t::text LIKE '%' || encode('tp_secret', 'hex') || '%'"
        )
        assert leaks == 0, f"credentials in {table}"
    for path in dict.fromkeys(bench.logs):
        with path.open(errors="replace") as log:
            assert not any("tp_secret" in line for line in log), path


_DEAD_LETTERS = """
SELECT l.topic || '/' || l.partition || '/' || d."offset" AS cause FROM dead_letter d JOIN lane l ON l.id = d.lane_id
"""


async def _dead_letters_come_once(bench: Workbench, connection: Connection, reemitted: bool) -> None:
    """As results do: they are in the same transactions."""
    seen: Counter[str] = Counter()
    for one in bench.stream([own.dead_letter_topic for own in bench.settings.by_commands.values()]):
        assert "tp_secret" not in repr((one.key, one.value, one.headers)), f"credentials in a dead letter: {one.offset}"
        seen["/".join(one.header(f"dlq-original-{part}") or "" for part in ("topic", "partition", "offset"))] += 1
    rows = {row["cause"] for row in await connection.fetch(_DEAD_LETTERS)}
    _none(rows ^ seen.keys(), "dead letters on one side only")
    _none([cause for cause, times in seen.items() if times > 1 and not reemitted], "dead letters doubled")
