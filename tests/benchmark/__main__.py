"""`python -m tests.benchmark`: all of it on servers of its own, one table, and the targets beside it."""

from dataclasses import replace
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import ExistingDirectory
from cyclopts.validators import Number

from tests.benchmark.figures import console
from tests.benchmark.run import BASE, FULL, QUICK, SECTIONS, Run, measure
from tests.benchmark.servers import servers
from tests.benchmark.targets import print_targets

app = App(name="python -m tests.benchmark", help="Measure floors, peer and worker in one run.")


@app.default
def benchmark(
    *,
    quick: Annotated[bool, Parameter(help="Small sizes and one round: does it run at all?", negative=())] = False,
    only: Annotated[str, Parameter(help=f"Some of {','.join(SECTIONS)}.")] = ",".join(SECTIONS),
    rounds: Annotated[int | None, Parameter(help="How often each figure is measured.")] = None,
    commands: Annotated[int | None, Parameter(help="Commands a measurement.")] = None,
    partitions: Annotated[
        list[int] | None, Parameter(help="For `partitions`: how many; repeat it.", negative=(), validator=Number(gte=1))
    ] = None,
    rate: Annotated[
        float | None, Parameter(help="For `partitions`: commands a second of the load for p50, p99.")
    ] = None,
    broker_disk: Annotated[
        ExistingDirectory | None,
        Parameter(help="Where the broker's files go, as /dev/shm; else beside the database's."),
    ] = None,
    warm_up: Annotated[float | None, Parameter(help="Seconds of load on the servers before anything counts.")] = None,
) -> None:
    """Measure, then print one table with minimum, median and maximum, and the targets."""
    wanted = tuple(only.split(","))
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"--only: expected some of {','.join(SECTIONS)}, got {','.join(unknown)}")
    size = QUICK if quick else FULL
    size = replace(
        size,
        rounds=rounds or size.rounds,
        commands=commands or size.commands,
        partitions=tuple(partitions or size.partitions),
        per_second=rate or size.per_second,
        warm_up_seconds=size.warm_up_seconds if warm_up is None else warm_up,
    )
    with servers(broker_disk) as found:
        console.print(f"servers: {found.kind}; {size}", highlight=False)
        run = Run(found, size)
        try:
            measure(run, wanted)
        finally:
            run.figures.print(BASE)
            print_targets(run.figures)
            run.close()


if __name__ == "__main__":
    app()
