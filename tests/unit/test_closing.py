"""The end of a session without servers: which results still come out, and how long that may take."""

from tests.unit.session_world import (
    make_world,
    no_servers,  # noqa: F401  # a fixture that every test here uses
)
from tests.workbench import until


async def test_the_turn_in_flight_comes_out_when_a_session_closes() -> None:
    """Cut off, it would be in doubt: the next owner would have to fence it and read the ledger again."""
    world = make_world(1, batch_records=10)
    await world.start()
    world.kafka.going_on.clear()
    world.fetch(0, 20)
    world.fetch(0, 20)
    lane = world.open(0)
    await until(lambda: lane.applied == 20, 10, "two turns are in Postgres, and the first is in flight")
    world.session.close()
    world.kafka.going_on.set()
    await world.close()
    assert (lane.applied, lane.emitted, world.kafka.committed_offsets) == (20, 20, {0: 20})
    assert not world.session.emitter.is_open
