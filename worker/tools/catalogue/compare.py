"""`passport-worker catalogue diff` and `load --dry-run`: what loading a file would do."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from worker.tools.catalogue.differences import differences
from worker.tools.catalogue.load import problems_of_loading, templates_of
from worker.tools.catalogue.report import CatalogueDiffReport, FieldChange, RowChange
from worker.tools.catalogue.stored import stored_rows
from worker.tools.catalogue.warnings import warnings_of
from worker.tools.common.catalogue.file import CatalogueError
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.catalogue.rows import CatalogueRow, rows_of
from worker.tools.common.checked import ask_database
from worker.tools.common.inspection import Inspection
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers

CATALOGUE_RIGHTS = reading("plan", "company", "api_key", "signing_key", "template", "product")
"""Who reads hashes of keys as well."""

DIFFERS = "differs"
CANNOT_BE_LOADED = "cannot-be-loaded"

_ROWS_AT_ONCE = 1_000


async def compare(servers: Servers, contents: Catalogue, *, must_be_equal: bool) -> CatalogueDiffReport:
    """What loading a file would change, as of one moment. Wrong is what cannot be loaded.

    With `must_be_equal` any change is wrong as well.
    """

    async def question(database: Inspection) -> CatalogueDiffReport:
        async with database.connection.transaction(isolation="repeatable_read", readonly=True):
            changes = await _changes(database, contents)
            refused = await problems_of_loading(database.connection, contents)
            templates = await templates_of(database.connection, contents)
        problems = [*_refusals(refused), *(_differs(changes) if must_be_equal else ())]
        return _report(problems, changes, warnings_of(contents, templates))

    found = await ask_database(servers, CATALOGUE_RIGHTS, question, is_long=True)
    return _report([found]) if isinstance(found, Problem) else found


def refusal_of(error: CatalogueError) -> CatalogueDiffReport:
    """Of a file whose contents are wrong by themselves."""
    return _report(_refusals(error.problems))


def _report(
    problems: Iterable[Problem], changes: Sequence[RowChange] = (), warnings: Iterable[str] = ()
) -> CatalogueDiffReport:
    added = sum(one.change == "added" for one in changes)
    return CatalogueDiffReport(
        problems=tuple(problems),
        added=added,
        changed=len(changes) - added,
        changes=tuple(changes),
        warnings=tuple(warnings),
    )


def _differs(changes: Sequence[RowChange]) -> Iterator[Problem]:
    if changes:
        added = sum(one.change == "added" for one in changes)
        text = f"Loading the file would add rows: {added}, and change rows: {len(changes) - added}."
        yield Problem(code=DIFFERS, text=text)


def _refusals(problems: Iterable[str]) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(code=CANNOT_BE_LOADED, text=problem)


async def _changes(database: Inspection, contents: Catalogue) -> list[RowChange]:
    found = []
    for kind, rows in groupby(rows_of(contents), key=lambda row: row.kind):
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            stored = await stored_rows(database.connection, kind, [row.id for row in chunk])
            found += [change for row in chunk if (change := _change(stored.get(row.id), row)) is not None]
    return found


def _change(old: CatalogueRow | None, new: CatalogueRow) -> RowChange | None:
    fields = (
        ()
        if old is None
        else tuple(
            FieldChange(path=one.path, how=one.how, old=one.old, new=one.new)
            for one in differences(old.values, new.values)
        )
    )
    if old is not None and not fields:
        return None
    change = "added" if old is None else "changed"
    return RowChange(kind=new.kind, id=new.id, company=new.company_id, change=change, fields=fields)
