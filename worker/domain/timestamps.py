"""Times: milliseconds since the Unix epoch, as records carry them, `datetime`s in UTC, and ISO 8601 text."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Last millisecond of the year 9999: ISO 8601 has four digits for the year.
LATEST_MS = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def clamp_ms(milliseconds: int) -> int:
    """The nearest time from 1970 to 9999. A producer's timestamp may be anything, and rules need calendar days."""
    return min(max(milliseconds, 0), LATEST_MS)


def utc_day(appended_ms: int) -> int:
    """Days since the epoch: the UTC day of a daily write budget."""
    return appended_ms // DAY_MS


# Commands of a turn were appended close together, and most of the time goes into the text of the second.
@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    # Without `UTC`, the bytes of results would depend on the time zone of the process.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=4096)
def format_ms(milliseconds: int) -> str:
    """Format a time as events have it, for example `2026-05-09T10:00:00.000Z`."""
    second, millisecond = divmod(milliseconds, 1000)
    return f"{_format_second(second)}.{millisecond:03d}Z"


def format_time(time: datetime) -> str:
    """Format a `datetime` in UTC the same way."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime | None:
    """A time with a zone, as RFC 3339 writes it, in UTC; None for other text."""
    try:
        time = datetime.fromisoformat(text)
        return None if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_ms(text: str) -> int:
    """Milliseconds since the epoch, of a text that `parse_time` reads. Raises `ValueError` for other text."""
    time = parse_time(text)
    if time is None:
        raise ValueError("Expected a time with a zone")
    return ms_of_time(time)


def ms_of_time(time: datetime) -> int:
    """Milliseconds since the epoch, rounded down."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def time_of_ms(milliseconds: int) -> datetime:
    """A record's timestamp as a time in UTC."""
    return _EPOCH + timedelta(milliseconds=clamp_ms(milliseconds))
