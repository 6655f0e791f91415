"""`python -m tests.model [SHORTCUT[+SHORTCUT]]`: the first schedule in which it breaks, event by event."""

import sys
from contextlib import ExitStack
from itertools import count

from tests.model.kafka import Broken
from tests.model.process import replaced, simulated
from tests.model.shortcuts import UNSAFE, name_of
from tests.model.world import World


def main(name: str) -> None:
    """Print the story."""
    known = {name_of(shortcuts): shortcuts for shortcuts in UNSAFE} | {"": ()}
    if name not in known:
        sys.exit(f"Unknown shortcut {name}. Known ones: {', '.join(filter(None, known))}")
    shortcuts = known[name]
    weather = UNSAFE.get(shortcuts, {})
    with simulated(), ExitStack() as stack:
        for shortcut in shortcuts:
            stack.enter_context(replaced(shortcut()))
        for seed in count():
            try:
                World(seed, **weather).run()
            except Broken:
                break
        print(f"seed {seed}, after {seed} schedules that hold:")
        try:
            World(seed, print, **weather).run()
        except Broken as broken:
            print(f"         {broken}")


if __name__ == "__main__":
    main("+".join(sys.argv[1:]))
