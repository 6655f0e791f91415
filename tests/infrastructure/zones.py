"""A time zone far from UTC for all tests: a local day that stands in for a UTC day is another day there."""

import os
import time
from datetime import UTC, datetime


def far_zone() -> str:
    """A zone whose date is not that of UTC now: 12 hours behind it before 11:00 UTC, else 14 hours ahead.

    The dates differ for an hour at least, or else up to midnight UTC. So the hour of a run decides neither whether
    tests pass nor what they see. Only tests that run over midnight UTC may see less.
    """
    return "Etc/GMT+12" if datetime.now(UTC).hour < 11 else "Etc/GMT-14"


def live_in(zone: str) -> None:
    """Set the time zone of this process, and of those that it starts."""
    os.environ["TZ"] = zone
    time.tzset()
