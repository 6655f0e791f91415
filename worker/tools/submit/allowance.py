"""How many rows `--rate` lets through by now: a token bucket."""


class Allowance:
    """So many rows a second, one at first; what is not used within a second is lost, so that a stall makes no burst."""

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._rows = 1.0
        self._at = now

    def rows(self, now: float) -> int:
        """That may be taken; `now` in seconds of a clock that never goes back."""
        most = max(1.0, self._per_second)
        self._rows = min(most, self._rows + (now - self._at) * self._per_second)
        self._at = now
        return int(self._rows)

    def take(self, rows: int) -> None:
        """No more than were allowed."""
        self._rows -= rows
