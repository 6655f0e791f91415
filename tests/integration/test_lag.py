"""How far lanes are behind, while something holds them up: that is when somebody looks."""

import asyncio
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.guards_helpers import (
    LANE_ROWS,
    Running,
    changed,
    commands,
    held,
    publish,
    reset_offset,
    running,
)
from tests.unit.oauth_builders import AUDIENCE, ISSUER, token
from tests.workbench import Workbench, tenant, until
from worker.stream import lag_survey
from worker.stream.lane import LaneState
from worker.tools.demo.embedded import HOST, free_port

pytestmark = pytest.mark.real_kafka


@pytest.fixture(autouse=True)
def _quick_survey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_survey, "SURVEY_SECONDS", 0.3)


def _lag(one: Running, partition: int = 0) -> tuple[float, float]:
    """Records and seconds, as a scrape finds them."""
    records, seconds = (one.metric(f"passport_lane_lag_{unit}", partition) for unit in ("records", "seconds"))
    assert records is not None
    assert seconds is not None
    return records, seconds


async def _ages(one: Running, records: int, since: float) -> None:
    """Until the lag is `records`, and the oldest command as old as `since`, a Unix time; and it grows older."""
    await until(lambda: _lag(one)[0] == records and _lag(one)[1] > 0.5, 15, f"{records} behind, not {_lag(one)}")
    before = _lag(one)[1]
    assert abs(time.time() - since - before) < 5.0
    await asyncio.sleep(0.3)
    assert _lag(one)[1] >= before + 0.29


async def test_a_batch_that_waits_for_postgres_gets_older(bench: Workbench) -> None:
    """Its records left the inbox; they have no result."""
    async with running(bench) as one:
        assert _lag(one) == (0, 0)
        async with held(bench, LANE_ROWS):
            since = time.time()
            await publish(bench, commands(bench, 0, 10))
            await _ages(one, 10, since)
        await bench.wait_for_results(10)
        await until(lambda: _lag(one) == (0, 0), 10, "no lag")


async def test_a_lane_that_cannot_open_is_behind(bench: Workbench) -> None:
    """Nothing was ever read by this worker: the broker knows since when the first command waits."""
    async with running(bench):
        await publish(bench, commands(bench, 0, 5))
        await bench.wait_for_results(5)
    since = time.time()
    await publish(bench, commands(bench, 5, 12))
    async with held(bench), running(bench, opened=False) as one:
        assert one.lane().state is LaneState.OPENING
        await _ages(one, 7, since)


async def test_a_halted_lane_is_behind_by_what_has_no_result(bench: Workbench) -> None:
    """Not by the offset in Kafka, which somebody set ahead."""
    async with running(bench):
        await publish(bench, commands(bench, 0, 5))
        await bench.wait_for_results(5)
    since = time.time()
    await publish(bench, commands(bench, 5, 12))
    await reset_offset(bench, 11)
    async with running(bench, opened=False) as one:
        await until(lambda: one.metric("passport_lane_halted") == 1, 20, "halted")
        assert one.metric("passport_lane_halts_total") == 1
        await _ages(one, 7, since)
        await publish(bench, commands(bench, 12, 13))
        await _ages(one, 8, since)


async def test_a_lane_that_waits_for_keys_is_behind(bench: Workbench) -> None:
    """The commands are fetched, and nobody can say yet whose they are; the failed reads are counted."""
    key, location = ec.generate_private_key(ec.SECP256R1()), f"http://{HOST}:{free_port()}/jwks.json"
    settings = changed(bench.settings, oauth_jwks=location, oauth_issuer=ISSUER, oauth_audience=AUDIENCE)
    bearer = f"Bearer {token(key, 'ES256', 'k1', exp=int(time.time()) + 600)}".encode()
    command = {**bench.command(tenant(1), 1, "a", partition=0), "headers": [("authorization", bearer)]}
    async with running(bench, settings=settings) as one:
        since = time.time()
        await publish(bench, [command])
        await until(lambda: one.lane().state is LaneState.WAITING, 20, "it waits for keys")
        await _ages(one, 1, since)
        value = one.worker._metrics.registry.get_sample_value
        assert value("passport_jwks_up") == 0
        assert (value("passport_jwks_failures_total") or 0) > 0


async def test_surroundings_are_known_from_the_start(bench: Workbench) -> None:
    """Servers, the group, and how long the ledger and the records of topics last."""
    async with running(bench) as one:
        value = one.worker._metrics.registry.get_sample_value
        assert [value("passport_server_up", {"server": server}) for server in ("postgres", "kafka")] == [1, 1]
        assert value("passport_assigned_partitions") == 2
        assert (value("passport_rebalances_total") or 0) >= 1
        assert (value("passport_group_generation") or 0) >= 1
        await until(lambda: (value("passport_ledger_ends_timestamp_seconds") or 0) > time.time() + 86_400, 10, "days")
        assert value("passport_backup_newest_timestamp_seconds") == 0
        await until(lambda: value("passport_topic_retention_seconds") == 7 * 86_400, 10, "retention")
        assert abs((value("passport_housekeeping_last_success_timestamp_seconds") or 0) - time.time()) < 60
