"""`passport-worker settings`: every setting with its value, default and source. Secrets stay hidden."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import SecretStr, ValidationError

from worker.settings import PREFIX, VARIABLES, Settings
from worker.store.address import place_of
from worker.tools.common.hints import nearest

_NOT_SETTINGS = (f"{PREFIX}TEST_", f"{PREFIX}API_KEY")
"""Prefixes of variables that are not settings: those of the tests, and that of the example programs."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A setting, as texts for people. The value is not shown if the setting has a problem."""

    variable: str
    description: str
    default: str
    value: str
    is_set: bool
    problem: str | None

    def __str__(self) -> str:
        """A line with value and source, and a line with the description."""
        source = f"environment; default {self.default}" if self.is_set else "default"
        value = self.value if self.problem is None else f"BAD, {self.problem}"
        return f"{self.variable}: {value} ({source})\n    {self.description}"


def listed() -> list[Listed]:
    """All settings, with the values of this process's environment, good or bad."""
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
    """Name and problem of every bad setting; never its value, which may be a secret."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        yield str(problem["loc"][0]) if problem["loc"] else "", problem["msg"]


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Variables that only look like settings, each with the nearest real setting."""
    for variable in sorted(environment):
        name = variable.upper()
        if name.startswith(PREFIX) and name not in VARIABLES and not name.startswith(_NOT_SETTINGS):
            # Compare without the prefix, which would make any two names similar.
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
