"""Reads the JSON that commands may use: UTF-8, no BOM, no duplicate keys, no NaN, bounded depth."""

import json
import re
from hashlib import sha256
from math import isfinite
from typing import NoReturn

import orjson

from worker.domain.command import UnreadableRecord
from worker.domain.seeding import compact_json
from worker.messages.duplicates import describe_repeated_key, repeated_key

JsonObject = dict[str, object]


class _Refused(Exception):
    """Carries the verdict out of the parser's hooks."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = UnreadableRecord(code, reason)


class _DuplicateKey(Exception):
    """Carries the repeated key out of the parser's hooks. A second parse finds its path."""


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> JsonObject:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise _DuplicateKey(repeated_key(pairs))
    return mapping


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise _Refused("number-out-of-range", "Expected numbers within the range of a double")
    return number


def _no_constant(name: str) -> NoReturn:
    raise _Refused("not-json", f"Expected JSON, got {name}")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates, parse_float=_finite, parse_constant=_no_constant
)
# Do not change this form: Postgres holds fingerprints of it, and replays of the last days' keys would be refused.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False)


_BRACKETS_AND_STRINGS = re.compile(r'[\[{\]}]|"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def _depth_exceeds(text: str, limit: int) -> bool:
    """Whether objects and arrays nest deeper than `limit`. The outermost counts as 1."""
    # The parser itself fails at a depth that depends on its caller's stack. The verdict on a record must not.
    if text.count("{") + text.count("[") <= limit:
        return False
    depth = 0
    for token in _BRACKETS_AND_STRINGS.findall(text):
        if token in ("{", "["):
            depth += 1
            if depth > limit:
                return True
        elif token in ("}", "]"):
            depth -= 1
    return False


def read_object(value: bytes, max_depth: int) -> JsonObject | UnreadableRecord:
    """Parse a JSON object, or say why the bytes are not one. Never raises, whatever the bytes are."""
    plain = _plain_object(value, max_depth)
    return _read_object(value, max_depth) if plain is None else plain


def _plain_object(value: bytes, max_depth: int) -> JsonObject | None:
    """The object, if orjson certainly reads it as `_read_object` does; else None, and `_read_object` decides."""
    # orjson silently drops repeated keys. A colon follows each key, so a text with as many colons as the object has
    # keys repeats none. "://" does not count, since URLs are common in strings. orjson also reads some numbers
    # differently, so only integers below 2^53 are taken from it.
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if type(parsed) is not dict or _keys_of(parsed, max_depth) != value.count(b":") - value.count(b"://"):
        return None
    return parsed


# orjson refuses to write deeper objects.
_MOST_LEVELS = 254
# All parsers read and write smaller integers alike.
_EXACT = 2**53
# Low enough that the sum stays below zero, however many keys are added.
_NOT_PLAIN = -(2**31)


def _keys_of(value: JsonObject, max_depth: int) -> int:
    """The number of keys of an object and of those inside it.

    Negative if there are lists or other numbers inside, or objects nest deeper than `max_depth`.
    """
    if max_depth == 0:
        return _NOT_PLAIN
    count = len(value)
    for item in value.values():
        kind = type(item)
        if kind is dict:
            count += _keys_of(item, max_depth - 1)  # type: ignore[arg-type]  # as its type says
        elif kind is int:
            if not -_EXACT < item < _EXACT:  # type: ignore[operator]  # as its type says
                return _NOT_PLAIN
        elif kind is not str and kind is not bool and item is not None:
            return _NOT_PLAIN
    return count


def _read_object(value: bytes, max_depth: int) -> JsonObject | UnreadableRecord:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        return UnreadableRecord("not-utf8", f"Expected UTF-8, got an invalid byte at {error.start}")
    if text.startswith("\ufeff"):
        return UnreadableRecord("bom", "Expected JSON without a byte order mark")
    if _depth_exceeds(text, max_depth):
        return UnreadableRecord("too-deep", f"Expected JSON at most {max_depth} levels deep")
    try:
        parsed = _decoder.decode(text)
    except _Refused as refused:
        return refused.verdict
    except _DuplicateKey as error:
        repeated = describe_repeated_key(str(error), text)
        return UnreadableRecord("duplicate-key", f"Expected JSON without duplicate keys, got {repeated}")
    except json.JSONDecodeError as error:  # not its own text, which changes with the version of Python
        return UnreadableRecord("not-json", f"Expected JSON, got a syntax error at character {error.pos}")
    except ValueError:  # Python refuses integers of over 4,300 digits
        return UnreadableRecord("number-out-of-range", "Expected integers of at most 4300 digits")
    if not isinstance(parsed, dict):
        return UnreadableRecord("not-an-object", f"Expected a JSON object, got {_json_type(parsed)}")
    return parsed


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return names[type(value)]


def ascii_json(value: object) -> bytes:
    """The bytes of `compact_json`, in a tenth of its time. Not for floats, which orjson writes differently."""
    plain = _plain_json(value)
    return compact_json(value).encode("ascii") if plain is None else plain


def fingerprint(body: JsonObject) -> bytes:
    """SHA-256 of the canonical JSON: sorted keys, no white space, escapes for all but printable ASCII."""
    # Floats, and lists that may hold some, take the slow way: orjson writes some floats differently.
    plain = _plain_json(body, orjson.OPT_SORT_KEYS) if _keys_of(body, _MOST_LEVELS) > 0 else None
    return sha256(_canonical.encode(body).encode("ascii") if plain is None else plain).digest()


def _plain_json(value: object, option: int | None = None) -> bytes | None:
    """JSON by orjson; None if `json` writes it differently. orjson escapes neither 0x7f nor other alphabets."""
    try:
        text = orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:  # lone surrogates
        return None
    return text if text.isascii() and b"\x7f" not in text else None
