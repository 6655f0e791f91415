"""A deliberate fault in the code."""

from dataclasses import dataclass
from pathlib import Path


class Stale(Exception):
    """The code is not what the fault was made for; the text says which file."""


@dataclass(frozen=True)
class Fault:
    """Replaces `old` by `new` in `file`, where it stands once; `tests` are those that see it, as pytest takes them.

    `promise` says what the code promises and the fault breaks.
    """

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, tree: Path) -> str:
        """The faulty text of the file. Raises `Stale`."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text.count(self.old) != 1:
            raise Stale(f"{self.file} has the text {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)
