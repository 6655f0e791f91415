"""`passport-worker settings`: every setting with its value, default and source; what is secret stays so."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr, ValidationError

from worker.settings import PREFIX, VARIABLES, Settings
from worker.store.address import place_of
from worker.tools.common.hints import nearest

_NOT_SETTINGS = (f"{PREFIX}TEST_", f"{PREFIX}API_KEY")
"""What variables begin with that are none of ours: those of the tests, and that of the README's programs."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One setting, as texts for people. `problem` says what is wrong with it; its value is then not shown."""

    variable: str
    description: str
    default: str
    value: str
    is_set: bool
    problem: str | None

    def __str__(self) -> str:
        """Value and source in one line, the description in another."""
        source = f"environment; default {self.default}" if self.is_set else "default"
        value = self.value if self.problem is None else f"BAD, {self.problem}"
        return f"{self.variable}: {value} ({source})\n    {self.description}"


def listed() -> list[Listed]:
    """All settings in the environment of this process, good or bad."""
    given = {name.upper(): value for name, value in os.environ.items()}  # as pydantic-settings reads them
    problems = _problems()
    return [
        Listed(
            variable,
            Settings.model_fields[name].description or "",
            default := _shown(name, Settings.model_fields[name].default),
            _shown(name, given[variable]) if variable in given else default,
            variable in given,
            problems.get(name),
        )
        for variable, name in VARIABLES.items()
    ]


def bad_settings(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Every bad setting by name, with what is wrong with it; never its value, which may be a secret."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        yield str(problem["loc"][0]) if problem["loc"] else "", problem["msg"]


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Variables that look like settings and are none, each with the nearest that is one."""
    for variable in sorted(environment):
        name = variable.upper()
        if name.startswith(PREFIX) and name not in VARIABLES and not name.startswith(_NOT_SETTINGS):
            # Without the prefix, which would make any two of them alike.
            near = nearest(name.removeprefix(PREFIX), Settings.model_fields)
            yield variable, f"{PREFIX}{near.upper()}" if near else None


def _problems() -> dict[str, str]:
    problems: dict[str, str] = {}
    try:
        Settings()
    except ValidationError as error:
        for name, text in bad_settings(error):
            problems[name] = f"{problems[name]}; {text}" if name in problems else text
    return problems


def _shown(name: str, value: object) -> str:
    if value is None or value == "":
        return "not set"
    if name == "database_url":
        return place_of(str(value))
    is_secret = SecretStr in _types(name) or ("://" in str(value) and "@" in str(value))
    return "hidden" if is_secret else str(value).lower() if isinstance(value, bool) else str(value)


def _types(name: str) -> tuple[object, ...]:
    annotation = Settings.model_fields[name].annotation
    return getattr(annotation, "__args__", (annotation,))
