"""The entry point: `passport-worker`, and `python -m worker`."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    is_worker, interrupt = sys.argv[1:2] == ["run"], signal.getsignal(signal.SIGINT)
    # A process that is stopped while it still loads modules exits with 0, too. Not by `sys.exit`: while a module
    # defines a class, Python may turn SystemExit into another exception.
    if is_worker:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if is_worker or interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    gc.disable()  # objects of modules stay anyway: searching them for cycles would take a sixth of the start
    from worker.tools.cli.main import main as command_line

    gc.enable()
    if not is_worker:
        signal.signal(signal.SIGINT, interrupt)  # verbs handle it themselves
    command_line()


if __name__ == "__main__":
    main()
