"""The entry point: `passport-worker`, and `python -m worker`."""

import gc
import signal
import sys


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] == ["run"]:  # a worker that is stopped while it still loads modules exits with 0, too
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: sys.exit(0))
    gc.disable()  # objects of modules stay anyway: to search them for cycles would take a sixth of the start
    from worker.tools.cli.main import main as command_line

    gc.enable()
    command_line()


if __name__ == "__main__":
    main()
