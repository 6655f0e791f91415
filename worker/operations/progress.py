"""How far a long verb is, told while it runs."""

from typing import Protocol


class Progress(Protocol):
    """Shows it to people; what it is told costs next to nothing."""

    def begin(self, what: str, total: int) -> None:
        """A part of the work begins, of so many records."""
        ...

    def advance(self, records: int) -> None:
        """So many more are done."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, what: str, total: int) -> None:
        """See `Progress`."""

    def advance(self, records: int) -> None:
        """See `Progress`."""
