"""`python -m tests.chaos`: exit 1 where a result is lost, doubled, out of order or not what the ledger has."""

import asyncio
import signal
from random import SystemRandom
from typing import Annotated, Literal

from cyclopts import App, Parameter

from tests.chaos.faults import FAULTS, OF_SEVERAL_BROKERS
from tests.chaos.run import Plan, run
from tests.released.trees import UnknownVersion

app = App(name="python -m tests.chaos", help="Commands under random faults, on servers of its own.")


@app.default
def chaos(
    *,
    commands: Annotated[int, Parameter(help="How many at least; more where faults last long.")] = 500_000,
    faults: Annotated[int, Parameter(help="How many.")] = 150,
    seed: Annotated[int | None, Parameter(help="Chooses commands and faults; without it, any.")] = None,
    partitions: Annotated[int, Parameter(help="Of each topic of the default channel.")] = 12,
    channels: Annotated[int, Parameter(help="How many; each but the first has fewer partitions.")] = 1,
    rate: Annotated[float, Parameter(help="Commands a second, bursts aside.")] = 300.0,
    session: Annotated[float, Parameter(help="Session timeout of the workers in seconds.")] = 6.0,
    only: Annotated[str, Parameter(help="Kinds of faults, separated by commas.")] = ",".join(FAULTS),
    module: Annotated[str, Parameter(help="What runs as the worker, with the argument `run`.")] = "worker",
    released: Annotated[
        str | None, Parameter(help="A folder, or a revision such as v1.0.0: workers of that version take turns.")
    ] = None,
    brokers: Annotated[Literal[1, 3], Parameter(help="How many Kafka has.")] = 3,
) -> None:
    """Publish commands while servers, workers and networks fail; then compare all results with the ledger."""
    kinds = tuple(only.split(","))
    if unknown := set(kinds) - FAULTS.keys():
        raise SystemExit(f"--only: expected some of {','.join(FAULTS)}, got {','.join(sorted(unknown))}")
    if brokers == 1:
        kinds = tuple(kind for kind in kinds if kind not in OF_SEVERAL_BROKERS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and workers end with us, as with Ctrl-C
    seed = SystemRandom().randrange(10**6) if seed is None else seed
    plan = Plan(commands, faults, seed, partitions, channels, rate, session, kinds, module, released, brokers)
    print(plan)
    try:
        outcome = asyncio.run(run(plan))
    except UnknownVersion as error:
        raise SystemExit(f"--released: {error}") from error
    raise SystemExit(1 if outcome.problems else 0)


if __name__ == "__main__":
    app()
