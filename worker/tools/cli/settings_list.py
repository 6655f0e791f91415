"""`passport-worker settings`: every setting with its value, default and source. Secrets stay hidden."""

import os
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, SecretStr, ValidationError

from worker.settings import PREFIX, VARIABLES, Settings
from worker.store.address import place_of
from worker.tools.common.hints import nearest
from worker.tools.common.report import Model, Problem, Report, json_safe

_NOT_SET = "not set"
_NOT_SETTINGS = (f"{PREFIX}TEST_", f"{PREFIX}API_KEY")
"""Prefixes of variables that are not settings: those of the tests, and that of the example programs."""


class SettingReport(Model):
    """A setting and where its value comes from. Secrets are `hidden`."""

    variable: str = Field(description="Name of the environment variable.")
    description: str
    default: str | None = Field(description="Null: not set.")
    value: str | None = Field(description="Null: not set, or bad.")
    source: Literal["default", "environment"]
    problem: str | None = Field(description="What is wrong with the value; null if nothing is.")

    def __str__(self) -> str:
        """The setting with its value and the source."""
        default = self.default or _NOT_SET
        source = "default" if self.source == "default" else f"environment; default {default}"
        value = self.value or _NOT_SET if self.problem is None else f"BAD, {self.problem}"
        return f"{self.variable}: {value} ({source})"


class SettingsReport(Report):
    """`passport-worker settings`: each setting. Bad settings are problems; the exit code is then 2."""

    settings: tuple[SettingReport, ...]


def settings_report() -> SettingsReport:
    """All settings, with the values of this process's environment, good or bad."""
    given = {name.upper(): value for name, value in os.environ.items()}  # as pydantic-settings reads them
    problems: dict[str, str] = {}
    try:
        Settings()
    except ValidationError as error:
        for name, text in bad_settings(error):
            problems[name] = f"{problems[name]}; {text}" if name in problems else text
    settings = tuple(
        SettingReport(
            variable=variable,
            description=Settings.model_fields[name].description or "",
            default=(default := _shown(name, Settings.model_fields[name].default)),
            value=None if name in problems else _shown(name, given[variable]) if variable in given else default,
            source="environment" if variable in given else "default",
            problem=problems.get(name),
        )
        for variable, name in VARIABLES.items()
    )
    bad = [setting for setting in settings if setting.problem is not None]
    return SettingsReport(
        problems=tuple(Problem(code="bad-setting", text=f"{setting.variable}: {setting.problem}") for setting in bad),
        settings=settings,
    )


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


def _shown(name: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    if name == "database_url":
        return place_of(str(value))
    annotation = Settings.model_fields[name].annotation
    types = getattr(annotation, "__args__", (annotation,))
    # Any other URL may hold a user and a password, too.
    is_secret = SecretStr in types or ("://" in str(value) and "@" in str(value))
    if is_secret:
        return "hidden"
    # A shell may pass bytes that are not UTF-8.
    return str(value).lower() if isinstance(value, bool) else json_safe(str(value))
