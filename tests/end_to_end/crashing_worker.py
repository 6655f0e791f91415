"""The real worker, but it dies or freezes at a named crash point: `TEST_CRASH=<point>:<n>:kill|freeze`."""

import os
import signal
import sys

from worker.store import failpoints
from worker.tools.cli.main import main


def arm(order: str) -> None:
    """Kill or stop this very process when the point is reached for the n-th time."""
    wanted, count, how = order.rsplit(":", 2)
    left = int(count)

    def reach(point: str) -> None:
        nonlocal left
        if point == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    failpoints.reach = reach


if __name__ == "__main__":
    arm(os.environ["TEST_CRASH"])
    main(sys.argv[1:])
