"""Running verbs as processes, and what they print."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator

from tests.workbench import REPOSITORY, Workbench, run_command, tenant

SCHEMAS = REPOSITORY / "schemas" / "operations"


class Told(NamedTuple):
    """The exit code of a verb and its JSON document."""

    code: int
    report: dict[str, Any]

    @property
    def codes(self) -> list[str]:
        """Of its problems, in order."""
        return [one["code"] for one in self.report["problems"]]


async def ask(bench: Workbench, verb: str, *arguments: str, schema: str | None = None, **environment: str) -> Told:
    """A verb with `--json`, whose document fits its schema and whose exit code says whether something is wrong."""
    done = await asyncio.to_thread(
        run_command, *verb.split(), *arguments, "--json", **{**bench.environment, **environment}
    )
    assert done.stdout, f"{verb}: exit {done.returncode}: {done.stderr}"
    report = json.loads(done.stdout)
    described = json.loads((SCHEMAS / f"{schema or verb.replace(' ', '-')}.json").read_text())
    Draft202012Validator(described).validate(report)
    assert (done.returncode == 0) is report["ok"] is (report["problems"] == []), done
    return Told(done.returncode, report)


async def answered(bench: Workbench, log: Path, count: int, *, start: int = 0) -> None:
    """Publish `count` commands to both partitions, have them answered, and stop the worker."""
    before = len(await asyncio.to_thread(bench.results))
    bench.publish(
        {**bench.command(tenant(n % 3), n % 3, f"u{n}", key=f"k{n}"), "partition": n % 2}
        for n in range(start, start + count)
    )
    worker = bench.start_worker(log)
    await bench.wait_for_results(before + count)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
