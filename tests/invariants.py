"""The invariants of protocol section 1, checked against Kafka and Postgres from the outside."""

from collections import Counter

from tests.schema_checks import check_event
from tests.workbench import LABELS, Result, Workbench
from worker.store.sql import Connection


async def check_invariants(bench: Workbench, *, reemitted: bool = False) -> list[Result]:
    """Check I1-I8 for an idle worker group; returns the results.

    `reemitted`: an operator reset offsets back, so results may be there more than once, but only with the same bytes.
    """
    commands = bench.read([bench.settings.topic_commands])
    results = bench.results()
    causes = [f"{one.topic}/{one.partition}/{one.offset}" for one in commands]
    once = _i1_one_result_each(causes, results, reemitted)
    if not reemitted:
        _i2_input_order(results)
    connection = await bench.connect()
    try:
        await _i3_ledger_is_what_kafka_has(bench, connection, once)
        await _i4_ledger_is_complete(bench, connection, causes)
        await _i5_counters(connection)
        await _i6_created_are_passports(bench, connection, once)
        await _i7_companies_stay_apart(connection, once)
        await _i8_no_credentials(bench, connection, results)
    finally:
        await connection.close()
    for one in once.values():
        check_event(bench.label_of(one.topic), one.value or b"")
    return results


def _i1_one_result_each(causes: list[str], results: list[Result], reemitted: bool) -> dict[str, Result]:
    counted = Counter(one.cause for one in results)
    assert set(counted) == set(causes), f"missing {set(causes) - set(counted)}, unasked {set(counted) - set(causes)}"
    if not reemitted:
        assert max(counted.values(), default=1) == 1, f"doubled: {[cause for cause, n in counted.items() if n > 1][:5]}"
    once: dict[str, Result] = {}
    for one in results:
        first = once.setdefault(one.cause, one)
        assert (first.topic, first.key, first.value, first.headers) == (one.topic, one.key, one.value, one.headers)
    return once


def _i2_input_order(results: list[Result]) -> None:
    last: dict[tuple[str, int, str], int] = {}
    for one in sorted(results, key=lambda one: (one.topic, one.partition, one.offset)):
        source, _, offset = one.cause.rpartition("/")
        stream = (one.topic, one.partition, source)
        assert last.get(stream, -1) < int(offset), f"{one.cause} is out of order in {one.topic}"
        last[stream] = int(offset)


_LEDGER = """
SELECT l.topic || '/' || l.partition || '/' || r."offset" AS cause, r.kind, r.key, r.replayed,
       coalesce(r.value, p.created_body) AS value
  FROM ledger r JOIN lane l ON l.id = r.lane_id LEFT JOIN passport p ON p.id = r.passport_id
"""


async def _i3_ledger_is_what_kafka_has(bench: Workbench, connection: Connection, once: dict[str, Result]) -> None:
    rows = {row["cause"]: row for row in await connection.fetch(_LEDGER)}
    assert set(rows) == set(once)
    for cause, row in rows.items():
        seen = once[cause]
        assert (seen.key, seen.value) == (row["key"].encode(), row["value"]), cause
        assert bench.label_of(seen.topic) == LABELS[row["kind"] - 1]
        assert (seen.header("idempotency-replayed") == "true") == row["replayed"]


async def _i4_ledger_is_complete(bench: Workbench, connection: Connection, causes: list[str]) -> None:
    lanes = await connection.fetch("SELECT topic, partition, applied FROM lane")
    assert len(lanes) == len({lane["partition"] for lane in lanes})
    applied = {f"{lane['topic']}/{lane['partition']}": lane["applied"] for lane in lanes}
    for cause in causes:
        place, _, offset = cause.rpartition("/")
        assert int(offset) < applied[place], f"{cause} is not below the position {applied[place]}"


async def _i5_counters(connection: Connection) -> None:
    wrong = await connection.fetch(
        """
        SELECT u.company_id FROM company_usage u JOIN company c ON c.id = u.company_id JOIN plan p ON p.id = c.plan_id
         WHERE u.slots_used <> (SELECT count(*) FROM passport WHERE company_id = u.company_id)
            OR u.slots_used - coalesce(p.max_dpps, u.slots_used)
               > (SELECT count(*) FROM overage_charge WHERE company_id = u.company_id)
        UNION
        SELECT company_id FROM (
            SELECT company_id, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS writes
              FROM passport GROUP BY 1, 2
        ) AS made FULL JOIN daily_writes USING (company_id, day)
         WHERE made.writes IS DISTINCT FROM daily_writes.writes
        """
    )
    assert not wrong, wrong


async def _i6_created_are_passports(bench: Workbench, connection: Connection, once: dict[str, Result]) -> None:
    created = [
        one
        for one in once.values()
        if one.topic == bench.settings.topic_created and one.header("idempotency-replayed") is None
    ]
    rows = {row["id"]: row for row in await connection.fetch("SELECT id, company_id, gtin, serial FROM passport")}
    assert len(created) == len(rows)
    assert {one.header("ce_subject") for one in created} == set(rows)
    registered = await connection.fetch("SELECT gtin, company_id FROM gtin_registration")
    owners = {row["gtin"]: row["company_id"] for row in registered}
    assert {row["gtin"]: row["company_id"] for row in rows.values()} == owners
    assert len({(row["gtin"], row["serial"]) for row in rows.values()}) == len(rows)


async def _i7_companies_stay_apart(connection: Connection, once: dict[str, Result]) -> None:
    companies = {row["id"] for row in await connection.fetch("SELECT id FROM company")}
    for one in once.values():
        own = one.header("ce_companyid")
        text = (one.value or b"").decode()
        assert not [other for other in companies if other != own and f'"{other}"' in text], one.cause


async def _i8_no_credentials(bench: Workbench, connection: Connection, results: list[Result]) -> None:
    everything = [*results, *bench.read([bench.dead_letters])]
    for one in everything:
        assert b"tp_secret" not in repr((one.key, one.value, one.headers)).encode(), one.cause
    for (table,) in await connection.fetch("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"):
        leaks = await connection.fetchval(
            f"SELECT count(*) FROM \"{table}\" AS t WHERE t::text LIKE '%tp_secret%' "
            f"OR t::text LIKE '%' || encode('tp_secret', 'hex') || '%'"
        )
        assert leaks == 0, f"credentials in {table}"
    for path in dict.fromkeys(bench.logs):
        assert "tp_secret" not in path.read_text(), path
