"""`passport-worker catalogue diff` and `load --dry-run`: the changes that loading a file would make, field by field."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, Literal

from worker.tools.catalogue.load import problems_of_loading, warnings_of_loading
from worker.tools.catalogue.report import CatalogueDiffReport, FieldChange, RowChange
from worker.tools.catalogue.stored import stored_rows
from worker.tools.common.catalogue.file import CatalogueError
from worker.tools.common.catalogue.models import Catalogue
from worker.tools.common.catalogue.rows import Values, rows_of
from worker.tools.common.catalogue.syntax import ValuePath, show
from worker.tools.common.companies import names_of
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import Servers

CATALOGUE_RIGHTS = reading("plan", "company", "api_key", "signing_key", "template", "product")
"""More than a reader's rights: they include hashes of API keys."""

DIFFERS = "differs"
CANNOT_BE_LOADED = "cannot-be-loaded"

_ROWS_AT_ONCE = 1_000


async def compare(servers: Servers, contents: Catalogue, *, must_be_equal: bool) -> CatalogueDiffReport:
    """Compare a file with the database as of one moment.

    The report's problems are the reasons why the file cannot be loaded, and also any change if it `must_be_equal`.
    """

    async def question(database: Inspection) -> CatalogueDiffReport:
        async with database.connection.transaction(isolation="repeatable_read", readonly=True):
            changes = await _changes(database, contents)
            refused = await problems_of_loading(database.connection, contents)
            warnings = await warnings_of_loading(database.connection, contents)
        problems = [Problem(code=CANNOT_BE_LOADED, text=text) for text in refused]
        if must_be_equal and changes:
            added = _added(changes)
            text = f"Loading the file would add rows: {added}, and change rows: {len(changes) - added}."
            problems.append(Problem(code=DIFFERS, text=text))
        return _report(problems, changes, warnings)

    answer = await ask_database(servers, CATALOGUE_RIGHTS, question, is_long=True)
    return _report([answer]) if isinstance(answer, Problem) else answer


def refusal_of(error: CatalogueError) -> CatalogueDiffReport:
    """The report for a file with errors, whatever the database holds."""
    return _report([Problem(code=CANNOT_BE_LOADED, text=text) for text in error.problems])


def _report(
    problems: Iterable[Problem], changes: Sequence[RowChange] = (), warnings: Iterable[str] = ()
) -> CatalogueDiffReport:
    return CatalogueDiffReport(
        problems=tuple(problems),
        added=_added(changes),
        changed=len(changes) - _added(changes),
        changes=tuple(changes),
        warnings=tuple(warnings),
    )


def _added(changes: Sequence[RowChange]) -> int:
    return sum(change.change == "added" for change in changes)


async def _changes(database: Inspection, contents: Catalogue) -> list[RowChange]:
    """The added and changed rows, with the name of the company that a row is or belongs to."""
    names = await names_of(database.connection, (product.company_id for product in contents.products))
    names |= {company.id: company.name for company in contents.companies}
    changes = []
    for kind, rows in groupby(rows_of(contents), key=lambda row: row.kind):
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            stored = await stored_rows(database.connection, kind, [row.id for row in chunk])
            for row in chunk:
                old = stored.get(row.id)
                fields = () if old is None else tuple(field_changes(old.values, row.values))
                if old is None or fields:
                    change: Literal["added", "changed"] = "added" if old is None else "changed"
                    name = names.get(row.id if kind == "company" else row.company_id or "")
                    changes.append(
                        RowChange(kind=kind, id=row.id, company=row.company_id, name=name, change=change, fields=fields)
                    )
    return changes


def field_changes(old: Values, new: Values) -> Iterator[FieldChange]:
    """Changes from a stored row to a file's row with the same id. Fields that the file leaves out stay as they are."""
    for name, value in new.items():
        if name == "fields":
            fields, new_fields = _by_key(old[name]), _by_key(value)
            yield from _changed_members(("fields",), fields, new_fields, depth=2)
            order = [key for key in fields if key in new_fields]
            new_order = [key for key in new_fields if key in fields]
            if order != new_order:
                yield FieldChange(path="fields (order)", how="changed", old=order, new=new_order)
        elif isinstance(value, dict):
            yield from _changed_members((name,), old[name], value, depth=1)
        else:
            yield from _changed_value((name,), old.get(name), value)


def _by_key(fields: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {field["key"]: {name: value for name, value in field.items() if name != "key"} for field in fields}


def _changed_members(
    path: ValuePath, old: Mapping[str, Any], new: Mapping[str, Any], *, depth: int
) -> Iterator[FieldChange]:
    """Changes of an object's members or, with a depth of 2, of the members of these."""
    for key, value in new.items():
        if key not in old:
            yield FieldChange(path=show((*path, key)), how="added", old=None, new=value)
        elif depth > 1:
            yield from _changed_members((*path, key), old[key], value, depth=depth - 1)
        else:
            yield from _changed_value((*path, key), old[key], value)
    for key, value in old.items():
        if key not in new:
            yield FieldChange(path=show((*path, key)), how="removed", old=value, new=None)


def _changed_value(path: ValuePath, old: Any, new: Any) -> Iterator[FieldChange]:
    if json.dumps(old) != json.dumps(new):  # as JSON: to Python, 1, 1.0 and true are equal
        yield FieldChange(path=show(path), how="changed", old=old, new=new)
