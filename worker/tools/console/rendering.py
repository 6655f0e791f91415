"""Templates, and filters that show values: escaped, in UTC, with units."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import JsonValue

from worker import __version__
from worker.messages.hints import printable
from worker.tools.common.address import CompanyKey, Serial, text_of
from worker.tools.common.money import money
from worker.tools.common.records import masked
from worker.tools.console.verdict import SERVERS

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_FEWEST = 2  # of a unit: 70 s says more than 1 min
PRODUCT = "passport-worker"
_CODE = re.compile("`([^`]+)`")


def environment() -> Environment:
    """Templates escape everything, and an undefined name is an error."""
    environment = Environment(
        loader=PackageLoader("worker.tools.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    times = (age, clock, clock_seconds, day_time, utc_time)
    for function in (*times, number, percent, money, query, shown, prose, masked, pretty):
        environment.filters[function.__name__] = function
    environment.globals.update(product=PRODUCT, version=__version__, ago=ago, away=SERVERS)
    environment.globals.update(text_of=text_of, Serial=Serial, CompanyKey=CompanyKey)
    return environment


def number(value: float | None) -> str:
    """A number with commas."""
    return "-" if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Percent, rounded down: only a full plan shows 100 %."""
    # 0.29 * 100 is a hair less than 29.
    return "-" if share is None else f"{int(round(share * 100, 9)):,} %"


def age(seconds: float | None) -> str:
    """A duration in its largest fitting unit."""
    if seconds is None:
        return "-"
    for size, unit in _UNITS:
        if seconds >= _FEWEST * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def ago(at: float) -> str:
    """The age of a Unix time."""
    return age(max(0.0, time.time() - at))


def clock(at: datetime) -> str:
    """Hours and minutes in UTC."""
    return f"{at.astimezone(UTC):%H:%M}"


def clock_seconds(at: float) -> str:
    """A Unix time as hours, minutes and seconds in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"


def day_time(at: datetime) -> str:
    """Day and time in UTC, in a column that is read from top to bottom."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def query(values: Mapping[str, str | None]) -> str:
    """A query with the values that are set; empty if none is."""
    given = {name: value for name, value in values.items() if value}
    return f"?{urlencode(given)}" if given else ""


def utc_time(at: datetime | None) -> str:
    """A readable time with milliseconds, in UTC."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def shown(text: str | None) -> str:
    """Text from outside, without API keys and without characters that would hide or reorder others."""
    return "-" if text is None else printable(masked(text))


def prose(text: str) -> Markup:
    """A sentence of a report, escaped. Text between backticks becomes code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(shown(text)))))


def pretty(body: JsonValue) -> str:
    """A body as indented JSON, with lines as `shown` shows them."""
    return "\n".join(map(shown, json.dumps(body, ensure_ascii=False, indent=2).split("\n")))
