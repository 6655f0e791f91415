"""Names for the moments at which a crash is interesting (DESIGN: Crash points)."""


def reach(point: str) -> None:
    """Nothing, in production; a test replaces this to die or to freeze at `point`."""
