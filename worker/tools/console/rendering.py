"""Templates, and how values are shown in them: escaped, in UTC, with units."""

import json
import re
import time
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from pydantic import JsonValue

from worker import __version__
from worker.messages.hints import printable
from worker.tools.console.verdict import SERVERS
from worker.tools.explain.told_command import masked

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_CODE = re.compile("`([^`]+)`")


def environment() -> Environment:
    """Escapes everything; a name that a template has and nobody gave it is an error."""
    made = Environment(
        loader=PackageLoader("worker.tools.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=number,
        age=age,
        clock=clock,
        utc_time=utc_time,
        shown=shown,
        prose=prose,
        percent=percent,
        masked=masked,
        pretty=pretty,
    )
    made.globals.update(version=__version__, ago=ago, away=SERVERS)
    return made


def number(value: float | None) -> str:
    """With commas."""
    return "-" if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Rounded down, so that 100 % is only what is full."""
    return "-" if share is None else f"{int(share * 100):,} %"


def age(seconds: float | None) -> str:
    """In the one unit that fits."""
    if seconds is None:
        return "-"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def ago(at: float) -> str:
    """How long ago a Unix time was."""
    return age(max(0.0, time.time() - at))


def clock(at: datetime) -> str:
    """Hours and minutes in UTC."""
    return f"{at.astimezone(UTC):%H:%M}"


def utc_time(at: datetime | None) -> str:
    """As events write it, readable."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def shown(text: str | None) -> str:
    """What came from outside: no character that would turn or hide others, and no API key."""
    return "-" if text is None else printable(masked(text))


def prose(text: str) -> Markup:
    """A sentence of a report, escaped: what stands between backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(shown(text)))))


def pretty(body: JsonValue) -> str:
    """A body as people read it; the same characters are left out."""
    return "\n".join(map(shown, json.dumps(body, ensure_ascii=False, indent=2).split("\n")))
