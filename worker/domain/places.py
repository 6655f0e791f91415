"""The place of a record in Kafka: its topic, partition and offset, and their one text form."""

import re
from typing import NamedTuple

# Topic names hold no slash. Anybody may write such a text into a header, so the numbers are bounded by what Kafka and
# Postgres can hold. Leading zeros are refused, so that a place has only one text.
_TEXT = re.compile(r"([^/]+)/(0|[1-9][0-9]{0,8})/(0|[1-9][0-9]{0,17})")


class Place(NamedTuple):
    """A record's place. Ids of results derive from its text, which is also the header `ce_causationid`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """`<topic>/<partition>/<offset>`."""
        return place_text(*self)

    @classmethod
    def parse(cls, text: str | bytes) -> "Place | None":
        """The place that a text names; None for any other text."""
        match = _TEXT.fullmatch(text if isinstance(text, str) else text.decode("utf-8", "replace"))
        return None if match is None else cls(match[1], int(match[2]), int(match[3]))


def place_text(topic: str, partition: int, offset: int) -> str:
    """The text of a place, without making a `Place`, which saves a third of a microsecond per result."""
    return f"{topic}/{partition}/{offset}"
