"""Reading JSON as contract section 2 allows it: UTF-8, no BOM, no duplicate keys, no NaN, bounded depth."""

import json
from hashlib import sha256
from math import isfinite
from typing import NoReturn

from worker.domain.command import UnreadableRecord

JsonObject = dict[str, object]


class _Refused(Exception):
    """Carries the verdict out of the parser's hooks."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = UnreadableRecord(code, reason)


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> JsonObject:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise _Refused("duplicate-key", "Expected JSON without duplicate keys")
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
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False)


def _depth_exceeds(value: object, limit: int) -> bool:
    """Whether objects and arrays nest deeper than `limit`; the outermost counts as 1."""
    level = [value]
    for _ in range(limit):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: object) -> list[object]:
    nested = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [child for child in nested if isinstance(child, dict | list)]


def read_object(value: bytes, max_depth: int) -> JsonObject | UnreadableRecord:
    """Parse a JSON object, or say why the bytes are not one. Never raises, whatever the bytes."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        return UnreadableRecord("not-utf8", f"Expected UTF-8, got an invalid byte at {error.start}")
    if text.startswith("\ufeff"):
        return UnreadableRecord("bom", "Expected JSON without a byte order mark")
    try:
        parsed = _decoder.decode(text)
    except _Refused as refused:
        return refused.verdict
    except RecursionError:
        return UnreadableRecord("too-deep", f"Expected JSON at most {max_depth} levels deep")
    except json.JSONDecodeError as error:
        return UnreadableRecord("not-json", f"Expected JSON, got {error.msg} at character {error.pos}")
    except ValueError:  # Python refuses integers of over 4,300 digits
        return UnreadableRecord("number-out-of-range", "Expected integers of at most 4300 digits")
    if not isinstance(parsed, dict):
        return UnreadableRecord("not-an-object", f"Expected a JSON object, got {_json_type(parsed)}")
    if text.count("{") + text.count("[") > max_depth and _depth_exceeds(parsed, max_depth):
        return UnreadableRecord("too-deep", f"Expected JSON at most {max_depth} levels deep")
    return parsed


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return names[type(value)]


def fingerprint(body: JsonObject) -> bytes:
    """SHA-256 of the canonical JSON: sorted keys, no white space (contract section 3)."""
    return sha256(_canonical.encode(body).encode("ascii")).digest()
