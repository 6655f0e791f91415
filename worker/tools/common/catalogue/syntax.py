"""Parses the JSON or YAML of a catalogue file, and finds everything in it that JSON could not express."""

import json
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from math import isfinite
from typing import Any

import yaml

from worker.tools.common.hints import place

ValuePath = tuple[str | int, ...]
"""Keys and list positions that lead to a value from the top."""

ValueProblem = tuple[ValuePath, str]

_LARGEST_DOUBLE = 2**1024 - 2**970
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TIME_PATH = re.compile(
    r"companies\[\d+]\.(apiKeys\[\d+]\.revokedAt|signingKeys\[\d+]\.(notBefore|revokedAt)|signaturesRequiredFrom|closedAt)"
)
"""Paths at which YAML may read a time."""
_BARE_KEY = re.compile(r"\w+")
_TRUTH, _NUMBERS = "tag:yaml.org,2002:bool", ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PLAIN_NUMBER = re.compile(r"[-+]?((0|[1-9]\d*)?(\.\d*)?(e[-+]?\d+)?|\.(inf|nan))", re.IGNORECASE)
"""Numbers that mean the same to everybody. To PyYAML, which follows YAML 1.1, 010 is 8 and 12:30 is 750."""


class UnreadableText(Exception):
    """The text is neither JSON nor YAML; the message says where parsing failed."""


class _Object(dict[object, object]):
    """An object that remembers the keys that its text repeats."""

    repeated: tuple[str, ...] = ()


def decode(content: bytes) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. Raises `UnreadableText`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content.removeprefix(BOM_UTF8)[: error.start].decode()
        raise UnreadableText(f"Expected UTF-8, got an invalid byte at {place(before)}") from None


def parse(text: str, suffix: str) -> object:
    """Parse JSON or YAML, as the file's `suffix` says. With others, both are tried. Raises `UnreadableText`."""
    if suffix.lower() in (".yaml", ".yml"):
        return _parse_yaml(text)
    try:
        return _parse_json(text)
    except UnreadableText:
        if suffix.lower() == ".json":
            raise
        return _parse_yaml(text)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        problem = f"Expected JSON, got something else at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):  # integers of over 4,300 digits; too deep nesting
        problem = "Expected JSON that does not nest too deeply, and integers of at most 4300 digits"
    raise UnreadableText(problem)


def _object(pairs: list[tuple[str, object]]) -> _Object:
    parsed = _Object(pairs)
    if len(parsed) != len(pairs):
        parsed.repeated = _repeated([key for key, _ in pairs])
    return parsed


def _repeated(keys: list[str]) -> tuple[str, ...]:
    return tuple(key for key, times in Counter(keys).items() if times > 1)


def _parse_yaml(text: str) -> object:
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", got something else at line {mark.line + 1}, column {mark.column + 1}"
        problem = f"Expected YAML{where} ({error.problem})"
    except yaml.reader.ReaderError as error:
        problem = f"Expected YAML of printable characters, got something else at {place(text[: error.position])}"
    except RecursionError:
        problem = "Expected YAML that does not nest too deeply"
    raise UnreadableText(problem)


class _Ambiguous:
    """A value, as written, that YAML 1.1 reads differently from what most people mean: 010, 12:30, NO."""

    def __init__(self, text: str, expected: str) -> None:
        self._text, self.expected = text, expected

    def __str__(self) -> str:
        return self._text


class _Loader(yaml.SafeLoader):
    """A SafeLoader whose objects remember repeated keys."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._repeated: dict[yaml.MappingNode, tuple[str, ...]] = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Keys are still as written here. Later, merged keys (`<<`) are among them, which may be repeated.
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        self._repeated[node] = _repeated(keys)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        if node.tag in _NUMBERS and not _PLAIN_NUMBER.fullmatch(node.value):
            return _Ambiguous(node.value, "a number in decimal digits (text that looks like a number needs quotes)")
        if node.tag == _TRUTH and node.value.lower() in ("yes", "no", "on", "off"):
            return _Ambiguous(node.value, f"true or false, or text in quotes, got {node.value}")
        try:
            return super().construct_object(node, deep)
        except ValueError:  # a 30th of February, an integer of over 4,300 digits
            problem = "expected a date that exists, or an integer of at most 4300 digits"
        except (LookupError, AttributeError):
            problem = "expected text that its tag fits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping_object(self, node: yaml.MappingNode) -> Iterator[_Object]:
        """Construct in two steps: PyYAML needs that for values that may contain themselves."""
        parsed = _Object()
        parsed.repeated = self._repeated[node]
        yield parsed
        parsed.update(self.construct_mapping(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping_object)


def show(path: ValuePath) -> str:
    """A path as text, such as `companies[0].apiKeys[1].sha256`. Keys that are not simple names get quotes."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _BARE_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def problems_of(value: object, path: ValuePath = ()) -> Iterator[ValueProblem]:
    """Values that JSON cannot express, or only ambiguously, with their paths. Times are fine where they are expected.

    Raises `RecursionError` for a value that contains itself or nests too deeply.
    """
    if isinstance(value, dict):
        yield from _problems_of_object(value, path)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from problems_of(item, (*path, position))
    else:
        problem = _problem_of_scalar(value, path)
        if problem is not None:
            yield path, problem


def _problems_of_object(value: dict[object, object], path: ValuePath) -> Iterator[ValueProblem]:
    for key in getattr(value, "repeated", ()):
        yield (*path, key), "Expected a key once, got it more than once"
    for key, item in value.items():
        if not isinstance(key, str):
            yield (*path, str(key)), "Expected keys to be text (in quotes, if YAML reads them as something else)"
        elif _LONE_SURROGATE.search(key):
            yield (*path, key), "Expected text without lone surrogates"
        else:
            yield from problems_of(item, (*path, key))


def _problem_of_scalar(value: object, path: ValuePath) -> str | None:
    if isinstance(value, str):
        return "Expected text without lone surrogates" if _LONE_SURROGATE.search(value) else None
    if isinstance(value, float) and not isfinite(value):
        return "Expected a number within the range of a double, got NaN or infinity"
    if isinstance(value, int) and abs(value) > _LARGEST_DOUBLE:
        return "Expected a number within the range of a double"
    if value is None or isinstance(value, bool | int | float):
        return None
    if isinstance(value, datetime) and _TIME_PATH.fullmatch(show(path)):
        return None
    if isinstance(value, _Ambiguous):
        return f"Expected {value.expected}"
    kind = "a date" if isinstance(value, date) else f"a YAML {type(value).__name__}"
    return f"Expected a JSON value, got {kind} (text that looks like one needs quotes)"
