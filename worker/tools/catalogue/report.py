"""The report of `catalogue diff` and `catalogue load --dry-run`."""

from typing import Literal

from pydantic import Field, JsonValue

from worker.tools.common.catalogue.rows import RowKind
from worker.tools.common.report import Model, Report


class FieldChange(Model):
    """A field of a row that would change."""

    path: str = Field(description="Path within the row, such as `prefill.manufacturerName`.")
    how: Literal["added", "changed", "removed"]
    old: JsonValue = Field(description="Value in the database; null if there is none.")
    new: JsonValue = Field(description="Value in the file; null if there is none.")


class RowChange(Model):
    """A row that loading the file would add or change."""

    kind: RowKind
    id: str = Field(description="The row's id. For API keys: SHA-256, in hexadecimal digits.")
    company: str | None = Field(description="The company that owns the row; null if none does.")
    name: str | None = Field(default=None, description="Name of that company, or of the row if it is a company.")
    change: Literal["added", "changed"]
    fields: tuple[FieldChange, ...] = Field(description="Changed fields; empty for an added row.")


class CatalogueDiffReport(Report):
    """`passport-worker catalogue diff`, and `load --dry-run`: the changes that loading the file would make."""

    added: int = Field(description="Number of added rows.")
    changed: int = Field(description="Number of changed rows.")
    changes: tuple[RowChange, ...]
    warnings: tuple[str, ...] = Field(description="Values that are loaded as they are, but are probably mistakes.")
