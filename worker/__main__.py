"""The entry point: `passport-worker`, and `python -m worker`."""

import gc
import signal
import sys


def main() -> None:
    """Run the command line. A worker that is told to stop while it still loads its modules stops cleanly, too."""
    if sys.argv[1:2] == ["run"]:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: sys.exit(0))
    gc.disable()  # what modules make stays: to look for cycles in it would take a sixth of the start
    from worker.tools.cli.main import main as command_line

    gc.enable()
    command_line()


if __name__ == "__main__":
    main()
