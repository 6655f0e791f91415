"""Results of checks, for people, and text that a terminal may show."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed", "skipped"]
"""As expected; unusual; wrong; or not checked, and the result says why."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check: what it found and expected, and what to do. `run` does not start if a check failed.

    `id` names the check, such as `postgres.schema`. `finding` has no full stop at its end. `advice` has one, and is
    empty if nothing has to be done.
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
        """Finding and advice in one text."""
        between = (". " if self.advice[0].isupper() else ": ") if self.advice else ""
        return f"{self.finding}{between}{self.advice}"


def printable(text: str) -> str:
    """The text with escapes in place of characters that a terminal might obey."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
