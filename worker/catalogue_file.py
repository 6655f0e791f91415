"""A catalogue file, checked as a whole before any of it is used (contract section 6)."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.catalogue_text import Path as ValuePath
from worker.catalogue_text import Problem, UnreadableText, parse, problems_of, show
from worker.domain.gs1 import UNSAFE_TEXT

_OBJECT_ID = re.compile(r"[0-9A-Fa-f]{24}")
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_API_KEY = re.compile(r"tp_[!-~]+")
_LARGEST_INTEGER = 2**31 - 1
_ONE_OF_TWO = "Expected exactly one of sha256 and key"


class CatalogueError(Exception):
    """A catalogue that cannot be loaded: every problem found, one line each, with its path; no API key is repeated."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = [re.sub(r"tp_[^\s`]+", "tp_…", problem) for problem in problems]
        super().__init__("\n".join(self.problems))


def _expected(what: str) -> NoReturn:
    raise PydanticCustomError("expected", "Expected {what}", {"what": what})


def _text(value: object) -> object:
    if not isinstance(value, str) or not value or UNSAFE_TEXT.search(value):
        _expected("text of at least one character, without control characters")
    return value


def _label(value: object) -> object:
    if not isinstance(value, str) or UNSAFE_TEXT.search(value):
        _expected("text without control characters")
    return value


def _subscription(value: object) -> object:
    if value is not None and (not isinstance(value, str) or not value or UNSAFE_TEXT.search(value)):
        _expected("text of at least one character, or null where none is needed")
    return value


def _object_id(value: object) -> object:
    if not isinstance(value, str) or not _OBJECT_ID.fullmatch(value):
        _expected("24 hexadecimal digits (in quotes, if all are decimal)")
    return value.lower()


def _integer(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_INTEGER:
        _expected(f"an integer from 0 to {_LARGEST_INTEGER}")
    return value


def _limit(value: object) -> object:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_INTEGER):
        _expected(f"an integer from 0 to {_LARGEST_INTEGER}, or null")
    return value
