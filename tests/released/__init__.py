"""The statements and the schema of released versions, which later versions have to leave usable.

    tests/released/1.0.0/schema.json      the migrations that make its schema, with their checksums
    tests/released/1.0.0/statements.sql   every statement of the worker, of its verbs and of readers
    tests/released/1.0.0/runs.json        arguments for them, from tests/contract/company_statements.py
    tests/released/1.0.0/promises.json    names that others build on: see promises.py

`python -m tests.released` writes the folder of this version, and `schemas/released/1.0.0`, as the last step of a
release. From then on, tests/contract/test_released.py runs these statements on the newest schema.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.contract.company_statements import RUNS, Run
from tests.contract.two_companies import NOON, TODAY
from tests.workbench import REPOSITORY
from worker import __version__
from worker.store.schema import known_migrations

FOLDER = Path(__file__).parent
_SCHEMA, _STATEMENTS, _RUNS = "schema.json", "statements.sql", "runs.json"
_MARK = "---- "
Name = tuple[str, str]
"""Package and name of a statement."""


@dataclass(frozen=True)
class Release:
    """What a version had when it was released. `migrations` are names and checksums."""

    version: str
    migrations: Mapping[str, str]
    statements: Mapping[Name, str]
    runs: Mapping[Name, Sequence[Run]]

    @property
    def schema(self) -> int:
        """The number of its newest migration."""
        return int(max(self.migrations)[:4])

    def write(self, folder: Path) -> None:
        """Write the files. Raises `FileExistsError`: what was released stays as it was."""
        folder.mkdir(parents=True)
        _write_json(folder / _SCHEMA, self.migrations)
        blocks = (f"{_MARK}{package} {name}\n{text}" for (package, name), text in self.statements.items())
        (folder / _STATEMENTS).write_text("".join(blocks), encoding="utf-8")
        runs = {
            " ".join(name): [_plain([run.arguments, run.before]) for run in runs] for name, runs in self.runs.items()
        }
        _write_json(folder / _RUNS, runs)


def this_version() -> Release:
    """The code of this folder, as a release."""
    return Release(
        __version__,
        {migration.name: migration.checksum.hex() for migration in known_migrations()},
        {
            (".".join(path.relative_to(REPOSITORY).parts[:-2]), path.stem): path.read_text(encoding="utf-8")
            for path in sorted((REPOSITORY / "worker").rglob("sql/*.sql"))
        }
        | {("readers", table): text for table, text in readers().items()},
        {(package, name): runs for package, named in RUNS.items() for name, runs in named.items()},
    )


def readers() -> dict[str, str]:
    """A query for each table that the page lets other people read, with all columns that it names."""
    page = (REPOSITORY / "schemas" / "versions.md").read_text(encoding="utf-8")
    section = page.split("## Tables that you may read", 1)[1].split("\n## ", 1)[0]
    columns = {
        table: ", ".join(f"t.{column}" for column in re.findall(r"\w+", named))
        for table, named in re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    }
    return {table: f"SELECT {names} FROM {table} t\n" for table, names in columns.items()}


def read(folder: Path) -> Release:
    """The release that was written there. Its days are as far from today as they were when it was written."""
    blocks = re.split(rf"^{_MARK}(\S+) (\S+)\n", (folder / _STATEMENTS).read_text(encoding="utf-8"), flags=re.MULTILINE)
    statements = {
        (package, name): text for package, name, text in zip(blocks[1::3], blocks[2::3], blocks[3::3], strict=True)
    }
    runs: dict[Name, list[Run]] = {}
    for name, plain in json.loads((folder / _RUNS).read_text(encoding="utf-8")).items():
        package, _, stem = name.partition(" ")
        runs[package, stem] = [Run(*_valued(run)) for run in plain]
    return Release(folder.name, json.loads((folder / _SCHEMA).read_text(encoding="utf-8")), statements, runs)


def releases() -> list[Release]:
    """All that stand in this folder."""
    return [read(path.parent) for path in sorted(FOLDER.glob(f"*/{_SCHEMA}"))]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """An argument as JSON has it."""
    match value:
        case tuple() | list():
            return [_plain(one) for one in value]
        case bytes():
            return {"hex": value.hex()}
        case datetime():
            return {"noon": (value - NOON).total_seconds()}
        case date():
            return {"day": (value - TODAY).days}
        case timedelta():
            return {"seconds": value.total_seconds()}
        case UUID():
            return {"uuid": str(value)}
    assert value is None or isinstance(value, str | int | float), f"cannot write {value!r}"
    return value


def _valued(plain: Any) -> Any:
    match plain:
        case list():
            return [_valued(one) for one in plain]
        case {"hex": text}:
            return bytes.fromhex(text)
        case {"noon": seconds}:
            return NOON + timedelta(seconds=seconds)
        case {"day": days}:
            return TODAY + timedelta(days=days)
        case {"seconds": seconds}:
            return timedelta(seconds=seconds)
        case {"uuid": text}:
            return UUID(text)
    return plain
