"""`python -m tests.benchmark`: all of it on servers of its own, one table, and the targets beside it."""

from dataclasses import replace
from typing import Annotated

from cyclopts import App, Parameter

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
) -> None:
    """Measure, then print one table with minimum, median and maximum, and the targets."""
    wanted = tuple(only.split(","))
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"--only: expected some of {','.join(SECTIONS)}, got {','.join(unknown)}")
    size = QUICK if quick else FULL
    size = replace(size, rounds=rounds or size.rounds, commands=commands or size.commands)
    with servers() as found:
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
