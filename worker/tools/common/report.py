"""What a verb says: one document with a schema, from which the table, the JSON and the exit code follow."""

from pydantic import BaseModel, ConfigDict, Field, computed_field
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """A part of a report; its JSON has names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Problem(Model):
    """Something that is wrong, was refused or could not be known."""

    code: str = Field(description="Stable; says which kind of problem it is.")
    place: str | None = Field(default=None, description="`<topic>/<partition>/<offset>`, or a part of it.")
    text: str = Field(description="For people: what is wrong, and what to do.")


class Report(Model):
    """What every verb's report has."""

    problems: tuple[Problem, ...] = Field(default=(), description="All that is wrong; exit 1 where there is any.")

    @computed_field(description="Whether nothing is wrong; exit 0.")  # type: ignore[prop-decorator]  # pydantic's way
    @property
    def ok(self) -> bool:
        """Whether the command line exits with 0."""
        return not self.problems
