"""`passport-worker catalogue`: loads, compares and exports reference data."""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import asyncpg
from cyclopts import App, Parameter

from worker.settings import Settings
from worker.store.schema import check_schema
from worker.tools.catalogue.compare import compare, refusal_of
from worker.tools.catalogue.export import export
from worker.tools.catalogue.load import load_catalogue, warnings_of_loading
from worker.tools.catalogue.report import CatalogueDiffReport, RowChange
from worker.tools.cli.asking import AuthorOptions, ask, examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.output import AsJson, Page, Table, show, status
from worker.tools.cli.running import run_async, settings_with_warnings, warn
from worker.tools.common.catalogue.file import CatalogueError, UnreadableFile, read_catalogue, read_with_digest
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.connect import OWNER_ADVICE, connected_to
from worker.tools.common.journal import Author, operation
from worker.tools.common.report import json_safe
from worker.tools.common.rights import KEEP_OPERATIONS, check_verb_rights

app = App(
    name="catalogue",
    help="Reference data: plans, companies, API keys, templates, products.",
)

File = Annotated[Path, Parameter(name="FILE", help="A JSON or YAML file.")]
DryRun = Annotated[bool, Parameter(help="Change nothing; print what would change.")]

_MOST_WARNINGS = 100
_MOST_CHANGES = 1_000
"""Lines shown to people; JSON has all of them."""

_IN_MEMORY = 16 * 1024 * 1024
_LONGEST_VALUE = 60


@app.command(
    name="load", help_epilogue=examples("catalogue load catalogue.yaml", "catalogue load catalogue.yaml --dry-run")
)
def catalogue_load(
    file: File,
    /,
    *,
    dry_run: DryRun = False,
    acting: AuthorOptions = AuthorOptions(),
    as_json: AsJson = False,
) -> None:
    """Insert or update plans, companies, API keys, templates and products. Safe to repeat, and while workers run.

    A row of the table operation says who loaded the file, and why. With --dry-run (and --json) it prints the report of
    `catalogue diff`. Exit 0, unless the file would be refused.
    """
    if dry_run:
        _show_changes(file, as_json=as_json, must_be_equal=False)
    if as_json:
        raise BadUsage("--json: expected --dry-run with it")
    settings, author = settings_with_warnings(), acting.author()
    try:
        contents, digest = read_with_digest(file)
        run_async(lambda: _load(contents, settings, author, {"file": json_safe(file.name), "sha256": digest}))
    except UnreadableFile as error:
        raise BadUsage(str(error)) from error
    except CatalogueError as error:
        raise Failed("\n  ".join([f"{file} cannot be loaded:", *error.problems])) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise Failed(f"{error}, so nothing was loaded: {OWNER_ADVICE}.") from error


async def _load(contents: Catalogue, settings: Settings, author: Author, arguments: Mapping[str, str]) -> None:
    async with connected_to(settings.database) as connection:
        if (problem := await check_schema(connection)) is not None:
            raise Failed(str(problem))
        if (lacking := await check_verb_rights(connection, KEEP_OPERATIONS)) is not None:
            raise Failed(str(lacking))
        _warn_of(await warnings_of_loading(connection, contents))
        # The row of the operation is committed with the rows of the file, or not at all.
        async with (
            connection.transaction(isolation="read_committed"),
            operation(connection, "catalogue load", author, arguments) as begun,
        ):
            loaded = await load_catalogue(connection, contents)
            begun.progress |= asdict(loaded)
    print("loaded " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in asdict(loaded).items()))


def _warn_of(warnings: Sequence[str]) -> None:
    for warning in warnings[:_MOST_WARNINGS]:
        warn(warning)
    if (others := len(warnings) - _MOST_WARNINGS) > 0:
        warn(f"and {others} more warnings")


@app.command(
    name="diff",
    help_epilogue=examples("catalogue diff catalogue.yaml", "catalogue diff catalogue.yaml --json | jq '.changes[]'"),
)
def catalogue_diff(file: File, /, *, as_json: AsJson = False) -> NoReturn:
    """Print what loading a file would add or change. Exit 0 if nothing would change, else 1.

    Rows that the file leaves out would stay as they are, so they are no difference. Most fields that it leaves out get
    their defaults: see schemas/catalogue.md.
    """
    _show_changes(file, as_json=as_json, must_be_equal=True)


def _show_changes(file: Path, *, as_json: bool, must_be_equal: bool) -> NoReturn:
    try:
        contents = read_catalogue(file)
        report = ask(lambda servers: compare(servers, contents, must_be_equal=must_be_equal))
    except UnreadableFile as error:
        raise BadUsage(str(error)) from error
    except CatalogueError as error:
        report = refusal_of(error)
    _warn_of(report.warnings)
    show(report, as_json=as_json, draw=_draw_changes)


def _draw_changes(page: Page, report: CatalogueDiffReport) -> None:
    lines = [line for change in report.changes for line in _lines(change)]
    if lines:
        names = ("row", "id", "company", "field", "change", "old", "new")
        shown = lines[:_MOST_CHANGES]
        empty = [name for name, cells in zip(names, zip(*shown, strict=True), strict=True) if not any(cells)]
        page.print(Table(names, shown, wraps=("company", "old", "new"), spare=(*empty, "company")))
    if (others := len(lines) - _MOST_CHANGES) > 0:
        page.print(f"and {others} more; --json has all of them")
    if not report.problems:
        page.print(f"rows that would be added: {report.added}, changed: {report.changed}")


def _lines(change: RowChange) -> list[tuple[object, ...]]:
    if change.change == "added":
        return [(change.kind, change.id, change.name, None, status("added"), None, None)]
    return [
        (
            change.kind,
            change.id,
            change.name,
            field.path,
            status(field.how),
            None if field.how == "added" else _value(field.old),
            None if field.how == "removed" else _value(field.new),
        )
        for field in change.fields
    ]


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


@app.command(
    name="export",
    help_epilogue=examples("catalogue export > catalogue.json", "catalogue export --company 6650a0b1c2d3e4f5a6b7c8d9"),
)
def catalogue_export(
    *,
    company: Annotated[str | None, Parameter(help="Only what this company has and uses: its id or name.")] = None,
) -> None:
    """Print the catalogue as a JSON file for `catalogue load`, which would change nothing. API keys are hashes in it.

    Prints either the whole catalogue or nothing.
    """
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii") as whole:
        if (problem := ask(lambda servers: export(servers, company, whole))) is not None:
            raise Failed(problem.text)
        whole.seek(0)
        shutil.copyfileobj(whole, sys.stdout)
