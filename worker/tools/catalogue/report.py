"""The report of `catalogue diff` and `catalogue load --dry-run`."""

from typing import Literal

from pydantic import Field, JsonValue

from worker.tools.catalogue.differences import How
from worker.tools.common.catalogue.rows import RowKind
from worker.tools.common.report import Model, Report


class FieldChange(Model):
    """A field of a row that would change."""

    path: str = Field(description="Within the row, such as `prefill.manufacturerName`.")
    how: How
    old: JsonValue = Field(description="As it is kept; null where there is none.")
    new: JsonValue = Field(description="As the file has it; null where there is none.")


class RowChange(Model):
    """A row that loading the file would add or change."""

    kind: RowKind
    id: str = Field(description="Of an API key its SHA-256, in hexadecimal digits.")
    company: str | None = Field(description="Whose it is; null for what belongs to no company.")
    change: Literal["added", "changed"]
    fields: tuple[FieldChange, ...] = Field(
        description="Of a row that is changed; one that is added is new as a whole."
    )


class CatalogueDiffReport(Report):
    """`passport-worker catalogue diff`, and `load --dry-run`: what loading the file would do."""

    added: int = Field(description="Rows.")
    changed: int = Field(description="Rows.")
    changes: tuple[RowChange, ...]
    warnings: tuple[str, ...] = Field(description="What is loaded as it is, and nobody can have meant.")
