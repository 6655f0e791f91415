"""What counts as readable JSON, and what the fingerprint of a body is."""

import json
import sys
from hashlib import sha256

import pytest

from worker.domain.command import UnreadableRecord
from worker.messages.json_value import JsonObject, fingerprint, read_object

DEPTH = 32


def _nested(levels: int, innermost: bytes = b"0") -> bytes:
    """Objects in objects: `levels` of them."""
    return b'{"a":' * levels + innermost + b"}" * levels


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"{}", {}),
        (b' \t\r\n{"a" : [ true , null ] } \n', {"a": [True, None]}),
        (b'{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}', {"a": 1, "b": {"a": 1}, "c": [{"a": 1}, {"a": 1}]}),
        (b'{"":"\\ud800","\\udfff":"\\u0000"}', {"": "\ud800", "\udfff": "\0"}),
        (b'{"a":"\\ud83d\\ude00\xf0\x9f\x98\x80\\ufeff"}', {"a": "\U0001f600\U0001f600\ufeff"}),
        (b'{"a":-0,"b":1E2,"c":1.7976931348623157e308}', {"a": 0, "b": 100.0, "c": sys.float_info.max}),
        (b'{"a":1e-400}', {"a": 0.0}),
        (b'{"a":-' + b"9" * 4300 + b"}", {"a": -(10**4300 - 1)}),
        (b'{"a":' + b"1" * 400 + b"}", {"a": int("1" * 400)}),
        (b'{"a":"' + b"{[" * 99 + b'\\"{[\\\\"}', {"a": "{[" * 99 + '"{[\\'}),
        (b'{"a":[' + b"[]," * 99 + b"{}]}", {"a": [*([] for _ in range(99)), {}]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_json_objects_are_read(value: bytes, expected: JsonObject) -> None:
    """Everything that RFC 8259 calls an object, within the limits."""
    assert read_object(value, DEPTH) == expected


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"\xff{}", "not-utf8"),
        (b'{"a":"\xed\xa0\x80"}', "not-utf8"),
        (b'{"a":"\xc0\x80"}', "not-utf8"),
        ('{"a":1}'.encode("utf-16"), "not-utf8"),
        ('{"a":1}'.encode("utf-16-le"), "not-json"),
        (b"\xef\xbb\xbf{}", "bom"),
        (b" \xef\xbb\xbf{}", "not-json"),
        (b" ", "not-json"),
        (b"{", "not-json"),
        (b"{} {}", "not-json"),
        (b"{}\0", "not-json"),
        (b"{'a':1}", "not-json"),
        (b'{"a":1,}', "not-json"),
        (b'{"a":01}', "not-json"),
        (b'{"a":+1}', "not-json"),
        (b'{"a":.5}', "not-json"),
        (b'{"a":\xd9\xa1}', "not-json"),
        (b'{"a":"\n"}', "not-json"),
        (b'{"a":"\0"}', "not-json"),
        (b'{"a":"\\x"}', "not-json"),
        (b'{"a":"', "not-json"),
        (b'{"a":"\\', "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b'{"a":Infinity}', "not-json"),
        (b'{"a":-Infinity}', "not-json"),
        (b'{"a":1e400}', "number-out-of-range"),
        (b'{"a":[-1E400]}', "number-out-of-range"),
        (b'{"a":1.7976931348623159e308}', "number-out-of-range"),
        (b'{"a":' + b"9" * 4301 + b"}", "number-out-of-range"),
        (b'{"a":-' + b"9" * 4301 + b"}", "number-out-of-range"),
        (b'{"a":1,"a":1}', "duplicate-key"),
        (b'{"a":1,"\\u0061":2}', "duplicate-key"),
        (b'{"ignored":[{"x":{"":1,"":1}}]}', "duplicate-key"),
        (b'{"\\ud800":1,"\\ud800":1}', "duplicate-key"),
        (b"null", "not-an-object"),
        (b"true", "not-an-object"),
        (b"7", "not-an-object"),
        (b"7.5", "not-an-object"),
        (b'"{}"', "not-an-object"),
        (b"[{}]", "not-an-object"),
    ],
)
def test_everything_else_is_unreadable(value: bytes, code: str) -> None:
    """With a stable code for the dead letter, and a reason of one short sentence."""
    verdict = read_object(value, DEPTH)
    assert isinstance(verdict, UnreadableRecord)
    assert verdict.code == code
    assert verdict.reason.startswith("Expected ")
    assert len(verdict.reason) < 80


TWICE = "Expected JSON without duplicate keys, got"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"null", "Expected a JSON object, got null"),
        (b'{"a":1,"\\u0061":1}', f'{TWICE} "a" twice'),
        (b'{"gs1":{"gtin":1,"x":2,"gtin":2}}', f'{TWICE} "gtin" twice in gs1'),
        (b'{"p":{"a":1,"a":2},"q":{"b":1,"b":2}}', f'{TWICE} "a" twice in p'),
        (b'{"p":{"a":1,"a":2},"p":3}', f'{TWICE} "a" twice in p'),
        (b'{"x":[{},[{"y":{"":1,"":1}}]]}', f'{TWICE} "" twice in x.1.0.y'),
        (b'{"x":{"a":1,"a":1},"y":x}', f'{TWICE} "a" twice'),
        (b'{"x":{"a":1,"a":1},"y":' + b"1" * 5_000 + b"}", f'{TWICE} "a" twice'),
        (
            '{"\\u001b[2J\\u202eü\\ud800":1,"\\u001b[2J\\u202eü\\ud800":1}'.encode(),
            rf'{TWICE} "\x1b[2J\u202eü\ud800" twice',
        ),
        (
            b'{"%s":{"%s":1,"%s":1}}' % (b"p" * 9_000, *(b"k" * 9_000,) * 2),
            f'{TWICE} "{"k" * 100}…" twice in {"p" * 100}…',
        ),
        (b"false", "Expected a JSON object, got a boolean"),
        (b"7", "Expected a JSON object, got a number"),
        (b"7.5", "Expected a JSON object, got a number"),
        (b'""', "Expected a JSON object, got a string"),
        (b"[]", "Expected a JSON object, got an array"),
        (b'{"a":"\n"}', "Expected JSON, got a syntax error at character 6"),
        (b"\xff", "Expected UTF-8, got an invalid byte at 0"),
    ],
)
def test_reasons_say_what_was_found(value: bytes, reason: str) -> None:
    """In words that do not change with the version of Python."""
    verdict = read_object(value, DEPTH)
    assert isinstance(verdict, UnreadableRecord)
    assert verdict.reason == reason


@pytest.mark.parametrize("opening", [b'{"a":', b'{"a":[', b'{"b":"}]","a":'])
def test_depth_counts_the_outermost_object_as_one(opening: bytes) -> None:
    """32 levels pass and 33 do not, whether of objects or arrays."""
    levels = opening.count(b"{") + opening.count(b"[")
    closing = b"]}" if b'"a":[' in opening else b"}"
    fits = opening * (DEPTH // levels) + b"0" + closing * (DEPTH // levels)
    assert isinstance(read_object(fits, DEPTH), dict)
    assert read_object(fits, DEPTH - 1) == UnreadableRecord("too-deep", "Expected JSON at most 31 levels deep")


def test_siblings_make_nothing_deeper() -> None:
    """A body may have more than 32 objects, as long as no more than 32 stand in each other."""
    value = b"{}"
    for _ in range(DEPTH - 1):
        value = b'{"a":{},"b":' + value + b',"c":[]}'
    assert isinstance(read_object(value, DEPTH), dict)
    assert read_object(value, DEPTH - 1) == UnreadableRecord("too-deep", "Expected JSON at most 31 levels deep")


def _at_stack_depth(frames: int, value: bytes) -> JsonObject | UnreadableRecord:
    return _at_stack_depth(frames - 1, value) if frames else read_object(value, DEPTH)


@pytest.mark.parametrize("innermost", [b"0", b'{"x":1,"x":1}', b"NaN", b"?"])
@pytest.mark.parametrize("levels", [33, 900, 10_000])
def test_the_verdict_does_not_depend_on_the_stack(levels: int, innermost: bytes) -> None:
    """However deep the caller stands, the same record gets the same answer."""
    value = _nested(levels, innermost)
    verdicts = {_at_stack_depth(frames, value).code for frames in (0, 300)}  # type: ignore[union-attr]  # all refused
    assert verdicts == {"too-deep"}


def test_brackets_that_never_close_are_too_deep() -> None:
    """64 KiB of opening brackets do not reach the parser."""
    verdict = read_object(b"[" * 65536, DEPTH)
    assert isinstance(verdict, UnreadableRecord)
    assert verdict.code == "too-deep"


def test_the_fingerprint_is_that_of_the_canonical_json() -> None:
    """SHA-256 over sorted keys without white space, as anybody can compute it."""
    value = read_object(b'{ "b": [1, 2.50, "\\u00e9"], "a": {"d": null, "c": true} }', DEPTH)
    assert isinstance(value, dict)
    assert fingerprint(value) == sha256(b'{"a":{"c":true,"d":null},"b":[1,2.5,"\\u00e9"]}').digest()


@pytest.mark.parametrize("nesting", ["%s", '{"a":%s}', '{"a":{"b":%s,"c":1}}', '{"a":[%s]}', '{"a":{"b":[{"c":%s}]}}'])
def test_numbers_are_canonical_wherever_they_stand(nesting: str) -> None:
    """Python's form of a float, which other encoders write otherwise."""
    value = read_object(f'{{"x":{nesting % "1E-7"}}}'.encode(), DEPTH)
    assert isinstance(value, dict)
    assert fingerprint(value) == sha256(f'{{"x":{nesting % "1e-07"}}}'.encode()).digest()


@pytest.mark.parametrize(
    "other",
    [b'{"a":1.0}', b'{"a":true}', b'{"a":"1"}', b'{"a":[1]}', b'{"A":1}', b'{"a":1,"b":null}', b'{"a":10}', b"{}"],
)
def test_another_body_has_another_fingerprint(other: bytes) -> None:
    """Types, cases and ignored keys count."""
    value = read_object(other, DEPTH)
    assert isinstance(value, dict)
    assert fingerprint(value) != fingerprint({"a": 1})


def test_every_readable_body_has_a_fingerprint() -> None:
    """Lone surrogates and the longest integers too."""
    value = read_object(b'{"\\ud800":"\\udfff","a":' + b"9" * 4300 + b"}", DEPTH)
    assert isinstance(value, dict)
    assert len(fingerprint(value)) == 32
    assert json.loads(json.dumps(value)) == value
