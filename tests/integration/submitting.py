"""Running `submit` as somebody types it, with Kafka's settings alone, and reading what it wrote."""

import csv
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from tests.infrastructure.forked import ForkedProcess
from tests.workbench import Tenant, Workbench, gtin, run_command, tenant
from worker.messages.json_value import fingerprint

HEAD = "productId;gs1.gtin;gs1.serialNumber"


def kafka_alone(bench: Workbench, one: Tenant | None = None) -> dict[str, str]:
    """The settings of Kafka and topics, a database that is none, and the API key of a tenant."""
    own = {name: value for name, value in bench.environment.items() if name != "PASSPORT_GROUP_ID"}
    return {
        **own,
        "PASSPORT_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "PASSPORT_API_KEY": (one or tenant(0)).api_key,
    }


def submit(bench: Workbench, file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """To its end."""
    return run_command("submit", str(file), *options, **{**kafka_alone(bench), **environment})


def start(
    bench: Workbench, *arguments: str, log: Path | None = None, forked: bool = True, **environment: str
) -> subprocess.Popen[str]:
    """A verb in a process of its own, which the test ends; without `forked`, its memory is its own, too."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
    return ForkedProcess(
        "worker",
        arguments,
        env={**clean, **kafka_alone(bench), **environment},
        forked=forked,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if log is None else log.open("ab"),
        stderr=subprocess.PIPE if log is None else subprocess.STDOUT,
        text=True,
    )


def sheet(path: Path, serials: Iterable[str], one: Tenant | None = None, gtins: int = 20) -> Path:
    """A row each, as German Excel saves it."""
    product = (one or tenant(0)).product_id
    rows = (f"{product};{gtin(number % gtins)};{serial}\r\n" for number, serial in enumerate(serials))
    path.write_text(f"{HEAD}\r\n{''.join(rows)}", encoding="utf-8-sig", newline="")
    return path


def key_of(product: str, number: str, serial: str) -> str:
    """The idempotency key of a row, by the page."""
    body: dict[str, object] = {"productId": product, "gs1": {"gtin": number, "serialNumber": serial}}
    return str(uuid5(NAMESPACE_URL, f"urn:passport-worker:submit:{fingerprint(body).hex()}"))


def answers_of(file: Path) -> bytes:
    """The bytes of the answers file, as far as it is there."""
    path = Path(f"{file}.answers.csv")
    return path.read_bytes() if path.exists() else b""


def peak_bytes(process: subprocess.Popen[str]) -> int:
    """The largest resident set that a process had until now; 0 once it has ended."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def answers(file: Path) -> list[dict[str, str]]:
    """The answers file, as a spreadsheet reads it."""
    with Path(f"{file}.answers.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=";", strict=True))


def outcomes(file: Path) -> list[str]:
    """Of all rows."""
    return [row["answer.outcome"] for row in answers(file)]


def ndjson_answers(file: Path) -> list[dict[str, str]]:
    """Of the answers file of an NDJSON file."""
    return [json.loads(line)["answer"] for line in Path(f"{file}.answers.ndjson").read_text().splitlines()]
