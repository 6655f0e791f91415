"""`python -m tests.model [VARIANT ...]`: the shortest schedule in which it breaks, event by event."""

import sys

from tests.model.steps import Broken
from tests.model.variant import Variant
from tests.model.world import World

SEEDS = 3000


def _events_until_broken(seed: int, variant: Variant) -> int | None:
    world = World(seed, variant)
    try:
        world.run()
    except Broken:
        return world.events
    return None


def main(names: list[str]) -> None:
    """Print the story."""
    variant = Variant(**dict.fromkeys(names, True))
    broken = [(events, seed) for seed in range(SEEDS) if (events := _events_until_broken(seed, variant)) is not None]
    print(f"{len(broken)} of {SEEDS} schedules break")
    if broken:
        _, seed = min(broken)
        print(f"seed {seed}:")
        try:
            World(seed, variant, print).run()
        except Broken as broke:
            print(f"     {broke}")


if __name__ == "__main__":
    main(sys.argv[1:])
