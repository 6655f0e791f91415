"""Reports of verbs: one document with a schema, from which the table, the JSON and the exit code follow."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, computed_field
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A part of a report. Its JSON has names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Problem(Model):
    """Something that is wrong, was refused, or could not be checked."""

    code: str = Field(description="Stable code of the kind of problem.")
    place: str | None = Field(default=None, description="`<topic>/<partition>/<offset>`, or a part of it.")
    text: str = Field(description="What is wrong, and what to do, for people.")


class Report(Model):
    """The part that the reports of all verbs share."""

    problems: tuple[Problem, ...] = Field(
        default=(), description="Everything that is wrong; with any problem the exit code is 1."
    )

    @computed_field(description="Whether nothing is wrong; then the exit code is 0.")  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def ok(self) -> bool:
        """Whether the command line exits with 0."""
        return not self.problems


SomeReport = TypeVar("SomeReport", bound=Report)


def json_safe(text: str) -> str:
    """Escapes lone surrogates, which a JSON document in UTF-8 cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
