"""Named moments at which tests crash or freeze a worker (DESIGN: Crash points)."""


def reach(point: str) -> None:
    """Does nothing in production. A test replaces it, to die or to freeze at `point`."""
