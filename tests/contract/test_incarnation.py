"""Whether the database is still the one that it was."""

import asyncpg
import pytest

from worker.store.incarnation import Incarnation
from worker.store.port import StoreUnavailable
from worker.store.postgres import PostgresStore


async def test_the_same_database_stays_the_same(postgres: PostgresStore) -> None:
    """However often it is asked, on whatever connection, and while it is written to."""
    for _ in range(3):
        await postgres.ping()
        async with postgres.session() as connection:
            await connection.execute("INSERT INTO plan VALUES ('p' || txid_current(), NULL, NULL, NULL)")
    assert postgres.incarnation == 0


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ({"_name": "7000000000000000000/00000001"}, "system and timeline are"),
        ({"_log_end": 2**60}, "its log ends at"),
    ],
)
async def test_another_one_is_told_once(database_url: str, before: dict[str, object], text: str) -> None:
    """Another system or timeline, or a log that ends earlier; then that is the database."""
    connection = await asyncpg.connect(database_url)
    one = Incarnation()
    await one.check(connection)
    for name, value in before.items():
        setattr(one, name, value)
    with pytest.raises(StoreUnavailable, match=text):
        await one.check(connection)
    assert one.number == 1
    await one.check(connection)
    assert one.number == 1
    await connection.close()
