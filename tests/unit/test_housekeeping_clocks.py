"""Which clocks housekeeping compares."""

import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker import housekeeping
from worker.housekeeping import Housekeeping
from worker.observability.metrics import Metrics
from worker.settings import Settings
from worker.store.clocks import NewestRecord
from worker.stream.log_clock import LogClock


class _Store:
    def session(self) -> Any:
        return nullcontext()


async def test_a_channel_whose_topic_cannot_be_read_hides_no_other_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail where the first failure ended the looks: the broker's clock was two hours ahead, unseen."""

    async def look(clock: LogClock) -> NewestRecord:
        if clock._topic.startswith("gone."):
            raise TimeoutError
        return NewestRecord(time.time() + 7200, 0.1)

    async def no_difference(_: object) -> float:
        return 0.0

    monkeypatch.setattr(LogClock, "look", look)
    monkeypatch.setattr(housekeeping, "clock_ahead", no_difference)
    metrics = Metrics()
    shared = SimpleNamespace(settings=Settings(channels="gone,well", default_channel=False), cluster=None)
    keeping = Housekeeping(cast(Any, shared), cast(Any, _Store()), metrics)
    assert not await keeping._clocks_agree()
