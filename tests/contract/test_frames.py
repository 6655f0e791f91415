"""Passports in the database: frames that are written once, and the function that fills them."""

from itertools import product
from typing import Any

import pytest

from tests.contract.world import GROWTH, LINK_BASE, OPEN, Lane, ask, verdict
from tests.unit.test_frames import passport
from worker.domain.outcomes import Created
from worker.messages.events import created_body
from worker.store import facts
from worker.store import postgres as postgres_store
from worker.store.frames import Frames, own_of
from worker.store.port import BatchTooLarge, StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection

SERIALS = ("s-1", "A.b_c~9", "x" * 100, "a/b", "100%", '"', "\\", "é", "\U0001f50b", '},"status":', "s s")
MOMENTS = (0, 1, 1_778_320_800_123, 200_000_000_000_001, 253_402_300_799_999)
OWN: tuple[dict[str, Any], ...] = (
    {},
    {"overage_price_cents": 75},
    {"parties": {"manufacturer": {"name": 'ü","createdAt":"', "gln": "4006381000000"}}},
    {"parties": {"importer": {}}, "overage_price_cents": 0},
)


def passports() -> list[Created]:
    """Every kind of serial number with everything that is a passport's own, each under a GTIN of its own."""
    cases = product(SERIALS, MOMENTS, OWN)
    return [
        passport(number, serial, f"{number:014d}", moment, **own) for number, (serial, moment, own) in enumerate(cases)
    ]


async def _frames(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM passport_frame")
    return count


async def test_an_answer_whose_passport_is_lost_is_told_as_lost(postgres: PostgresStore) -> None:
    """`lanes recover --allow original-missing` writes such answers. Seen to fail with an error of Python alone."""
    lane = await Lane.open(postgres)
    (answer,) = await lane.process(ask(OPEN, serial="a"))
    async with postgres.session() as connection:
        await connection.execute("DELETE FROM passport")
    with pytest.raises(StoreUnavailable, match=f"lacks the passport {answer.passport_id}, whose event is an answer"):
        await lane.answers()


async def test_a_frame_is_written_when_it_is_first_used(postgres: PostgresStore) -> None:
    """Once a product, whichever session meets it, and again by none: not even where it was rolled back before."""
    lane = await Lane.open(postgres)
    async with postgres.session() as connection:
        await connection.execute("DELETE FROM passport_frame")
    await lane.process(*(ask(OPEN, serial=f"a{number}") for number in range(3)))
    await lane.process(ask(OPEN, serial="b"), ask(GROWTH, 2, "b"))
    async with postgres.session() as connection:
        assert await _frames(connection) == 2
        other = PostgresStore(postgres.database, 1)
        lane = await Lane.open(other)
        await lane.process(ask(OPEN, serial="c"))
        created = [answer.value for answer in await lane.answers()]
        await other.close()
        assert await _frames(connection) == 2
        bodies = [row["body"] for row in await connection.fetch("SELECT p.created_body AS body FROM passport p")]
    assert sorted(bodies) == sorted(created)


async def test_a_frame_that_is_gone_is_no_reason_to_decide_anew(postgres: PostgresStore) -> None:
    """A key looked free where its passport's frame was lost: whoever needs it waits for the database to be mended."""
    lane = await Lane.open(postgres)
    await lane.process(ask(OPEN, key="k"))
    async with postgres.session() as connection:
        await connection.execute("DELETE FROM passport_frame")
    other = PostgresStore(postgres.database, 1)
    lane = await Lane.open(other)
    with pytest.raises(StoreUnavailable, match="passport_frame"):
        await lane.process(ask(OPEN, key="k"))
    with pytest.raises(StoreUnavailable, match="passport_frame"):
        await lane.answers()
    await other.close()


async def test_what_is_a_passports_own_is_measured_as_well(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parties may be larger than all that a product's passports share, and in JSON three times what was sent."""
    lane = await Lane.open(postgres)
    name = "\U0001f50b" * 200
    parties = {"manufacturer": {"legalName": name, "gln": "4012345000009", "url": f"https://a.example/{name * 9}"}}
    records = [ask(OPEN, serial=f"s{number}", key=f"k{number}", parties=parties) for number in range(3)]
    answers = await lane.process(*records)
    assert min(len(answer.value) for answer in answers) > 20_000
    monkeypatch.setattr(facts, "REPLAYED_BYTES", 60_000)
    monkeypatch.setattr(postgres_store, "ANSWERS_BYTES", 60_000)
    assert len(await lane.answers()) == 2
    with pytest.raises(BatchTooLarge):
        await lane.process(*records)
    assert [verdict(one) for one in await lane.process(*records[:2])] == ["replayed"] * 2


async def test_the_database_fills_frames_as_the_worker_does(connection: Connection) -> None:
    """`created_body` gives every kind of created event byte for byte, as operators and the audit read it."""
    frames = Frames()
    bodies = {one.passport_id: created_body(one, LINK_BASE) for one in passports()}
    for one in passports():
        frame, own = frames.take_apart(one.product, bodies[one.passport_id], own_of(one))
        await connection.execute(
            "INSERT INTO passport_frame VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            *(frame.id, one.product.id, one.product.template_id, frame.text.decode()),
        )
        await connection.execute(
            "INSERT INTO passport "
            "VALUES (timestamptz 'epoch' + $1 * interval '1 millisecond', $2, 1, $3, $4, $5, $6, $7)",
            *(one.created_ms, bytes.fromhex(one.passport_id), one.gtin, one.serial, frame.id),
            *(own.gs1.decode() or None, own.rest.decode() or None),
        )
    rows = await connection.fetch("SELECT encode(p.id, 'hex') AS id, p.created_body AS body FROM passport p")
    assert {row["id"]: row["body"] for row in rows} == bodies
    assert await _frames(connection) == 3
