"""Append times as days and as text."""

import time
from datetime import UTC, datetime

import pytest

from worker.domain import timestamps
from worker.domain.command import Source


@pytest.mark.parametrize(
    ("milliseconds", "text", "day"),
    [
        (0, "1970-01-01T00:00:00.000Z", 0),
        (1, "1970-01-01T00:00:00.001Z", 0),
        (86_399_999, "1970-01-01T23:59:59.999Z", 0),
        (86_400_000, "1970-01-02T00:00:00.000Z", 1),
        (1_778_320_800_000, "2026-05-09T10:00:00.000Z", 20_582),
        (951_782_400_050, "2000-02-29T00:00:00.050Z", 11_016),
        (timestamps.LATEST_MS, "9999-12-31T23:59:59.999Z", 2_932_896),
    ],
)
def test_times_are_utc_with_milliseconds(milliseconds: int, text: str, day: int) -> None:
    """Whatever the zone of the machine. Each text is read back as the same time."""
    assert timestamps.format_ms(milliseconds) == text
    assert timestamps.parse_ms(text) == milliseconds
    assert timestamps.format_time(timestamps.time_of_ms(milliseconds)) == text
    assert timestamps.utc_day(milliseconds) == day


def test_a_time_is_read_into_utc() -> None:
    """Whatever zone the text has."""
    assert timestamps.parse_time("2026-12-31T23:00:00+01:00") == datetime(2026, 12, 31, 22, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "x", "2026-12-31", "2026-12-31T23:00:00", "0001-01-01T00:00:00+23:00", "7"])
def test_text_without_a_time_or_a_zone_is_refused(text: str) -> None:
    """A time before the year 1, too."""
    assert timestamps.parse_time(text) is None
    with pytest.raises(ValueError, match="Expected a time with a zone"):
        timestamps.parse_ms(text)


def test_the_machine_is_far_from_utc() -> None:
    """`tests/conftest.py` sets the zone, so that tests notice local time. The machine needs its files of time zones."""
    assert abs(time.timezone) >= 12 * 3600


@pytest.mark.parametrize(
    ("milliseconds", "clamped"),
    [(-1, 0), (-(2**63), 0), (0, 0), (5, 5), (2**63 - 1, timestamps.LATEST_MS), (10**30, timestamps.LATEST_MS)],
)
def test_a_timestamp_is_brought_into_the_calendar(milliseconds: int, clamped: int) -> None:
    """Kafka's "no timestamp" (-1) and nonsense of a producer included."""
    assert timestamps.clamp_ms(milliseconds) == clamped


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(1_778_320_800_999, "69ff05a0"), (0, "00000000"), (timestamps.LATEST_MS, "fff4417f")]
)
def test_a_passport_id_starts_with_the_append_time_in_seconds(milliseconds: int, seconds: str) -> None:
    """4 bytes, of which a far future keeps the lower ones; then 8 bytes of SHA-256 over the path."""
    passport_id = Source("t", 1, 2, milliseconds).passport_id
    assert passport_id.startswith(seconds)
    assert passport_id[8:] == "092eb7c76c82dbf5"
