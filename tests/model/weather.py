"""How rough a world is, and in what way: the dice choose, and a test may choose instead."""

import random
from dataclasses import dataclass


@dataclass(slots=True)
class Weather:
    """Probabilities, and seconds of virtual time. Where a range is meant, this is its end."""

    # Of the faults of `World`, those that happen here, and how many.
    kinds: tuple[str, ...]
    faults: int
    # So long there are faults, and commands are published.
    lasts: float
    # Requests at which their sender may freeze or die, and how likely that is.
    moments: tuple[str, ...]
    strikes: float
    # How likely a fetch makes the consumer doubt that the topic is the one that it was.
    doubt: float
    freeze: float
    # A request takes so long. Some are lost, or come late by so much; one kind of request has less luck.
    seconds: float
    loss: float
    lateness: float
    unlucky: str
    # A marker takes so long.
    markers: float


KINDS = ("rebalance", "reset", "crash", "forget", "time_out", "change_leader", "hang", "freeze")
MOMENTS = ("register", "list_only", "begin", "commit", "produce", "txn_offset_commit", "end_txn")
UNLUCKY = ("end_txn", "txn_offset_commit", "register", "list_only", "commit", "nothing")


def weather_of(dice: random.Random, **chosen: object) -> Weather:
    """The weather of a world. `chosen` takes the place of what the dice choose."""
    values: dict[str, object] = {
        "kinds": tuple(dice.sample(KINDS, dice.choice([1, 2, 3, len(KINDS)]))),
        "faults": dice.randint(0, 15),
        "lasts": dice.choice([1.0, 3.0, 8.0]),
        "moments": tuple(dice.sample(MOMENTS, dice.choice([0, 1, 2]))),
        "strikes": dice.choice([0.1, 0.3]),
        "doubt": dice.choice([0.0, 0.0, 0.5]),
        "freeze": dice.choice([0.3, 1.0, 4.0]),
        "seconds": dice.choice([0.01, 0.05, 0.2]),
        "loss": dice.choice([0.0, 0.03, 0.12]),
        "lateness": dice.choice([0.1, 1.0, 5.0]),
        "unlucky": dice.choice(UNLUCKY),
        "markers": dice.choice([0.01, 0.1, 0.5]),
    }
    return Weather(**{**values, **chosen})  # type: ignore[arg-type]
