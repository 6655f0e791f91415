"""What helps people to mend something: a finding with advice, the place in a text, the name that was meant."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed", "skipped"]
"""What became of a check: as expected; only unusual; wrong; or not made, and the finding says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, what it expected, and what to do; `run` does not start where one of its checks has failed.

    `id` is the check's, such as `postgres.schema`. `finding` has no full stop at its end, `advice` has one; it is empty
    where there is nothing to do.
    """

    id: str
    finding: str
    advice: str = ""
    status: Status = "failed"

    @property
    def is_fatal(self) -> bool:
        """Whether the check has failed."""
        return self.status == "failed"

    def __str__(self) -> str:
        """In one text, for people."""
        between = (". " if self.advice[0].isupper() else ": ") if self.advice else ""
        return f"{self.finding}{between}{self.advice}"


def place(before: str) -> str:
    """Where a text goes on behind `before`; the first line and the first column have number 1."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"line {line}, column {column}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is near to one, whatever the case; None where none is."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name[:100].lower(), by_lower, 1)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The same, as the end of a sentence."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def printable(text: str) -> str:
    """Nothing of it reaches a terminal that would obey: other characters become escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
