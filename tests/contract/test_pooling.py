"""Whether a session is the worker's own. The pooler's part is in `tests/end_to_end/test_pooler.py`."""

import asyncpg

from worker.store.errors import SHARED_SESSION
from worker.store.pooling import check_session
from worker.store.postgres import SESSION_SETTINGS


async def test_two_sessions_one_session_and_lost_settings(database_url: str) -> None:
    """One session for both connections is what a pooler of transactions gives, also where it keeps their statements."""
    own = await asyncpg.connect(database_url, server_settings=SESSION_SETTINGS)
    other = await asyncpg.connect(database_url)
    assert await check_session(own, other, SESSION_SETTINGS) is None
    shared = await check_session(own, own, SESSION_SETTINGS)
    assert shared is not None
    assert shared.finding == SHARED_SESSION
    lost = await check_session(other, own, {"lock_timeout": "10s", "TimeZone": "x"})
    assert lost is not None
    assert lost.finding.startswith("the session lost settings: lock_timeout is 0, expected 10s, TimeZone is ")
    assert await check_session(own, other, SESSION_SETTINGS) is None, "nothing is left of the probe"
    await own.close()
    await other.close()
