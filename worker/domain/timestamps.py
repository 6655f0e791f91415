"""Time as the record carries it: append time in milliseconds since the Unix epoch, UTC."""

from datetime import UTC, datetime
from functools import lru_cache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LATEST_MS = 253_402_300_799_999
"""Last millisecond of the year 9999, the latest that ISO 8601 with four year digits can say."""


def clamp_ms(milliseconds: int) -> int:
    """A producer's timestamp may be anything; the rules need one that a calendar can show."""
    return min(max(milliseconds, 0), LATEST_MS)


def utc_day(appended_ms: int) -> int:
    """Days since the epoch: the UTC day of a daily write budget."""
    return appended_ms // DAY_MS


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=4096)
def iso_8601(appended_ms: int) -> str:
    """For example `2026-05-09T10:00:00.000Z`: milliseconds and `Z`."""
    second, millisecond = divmod(appended_ms, 1000)
    return f"{_second_text(second)}.{millisecond:03d}Z"
