"""What is read by a shorter way is read as by the long one, whatever it is, and the shorter way is taken at all."""

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builders import as_json, body
from worker.domain.seeding import compact_json
from worker.messages import json_value

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
keys = st.sampled_from(["a", "b", "productId", "gs1", "://", ":", 'x":', "\x7f", "é"]) | any_text
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text | keys
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)


@st.composite
def _spelled(draw: st.DrawFn) -> bytes:
    """An object whose keys may repeat, with or without escapes and white space; sometimes a byte of it is another."""
    ascii_only, space = draw(st.booleans()), draw(st.sampled_from(["", " ", "\n"]))

    def spell(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=(f",{space}", f"{space}:{space}"))

    pairs = draw(st.lists(st.tuples(keys, values), max_size=5))
    text = f"{{{','.join(f'{spell(key)}{space}:{spell(value)}' for key, value in pairs)}}}"
    spelled = bytearray(text.encode("utf-8", "surrogatepass"))
    if draw(st.integers(0, 3)) == 0:
        spelled[draw(st.integers(0, len(spelled) - 1))] = draw(st.integers(0, 255))
    return bytes(spelled)


@settings(max_examples=150)
@given(_spelled() | st.binary(max_size=30), st.integers(1, 6))
def test_json_is_read_alike(value: bytes, max_depth: int) -> None:
    """The same object, in the same order; where the short way is not certain, it says nothing."""
    plain = json_value._plain_object(value, max_depth)
    read = json_value._read_object(value, max_depth)
    assert plain is None or (plain == read and repr(plain) == repr(read))


@settings(max_examples=150)
@given(st.dictionaries(keys, values, max_size=5))
def test_fingerprints_are_made_alike(value: dict[str, object]) -> None:
    """Of the canonical text, which Python's own encoder writes."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    assert json_value.fingerprint(value) == sha256(text.encode("ascii")).digest()


texts = st.recursive(
    keys | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
)


@settings(max_examples=150)
@given(st.dictionaries(keys, texts, max_size=5))
def test_refusals_are_written_alike(value: dict[str, object]) -> None:
    """As the encoder writes them that the schemas and earlier results know."""
    assert json_value.ascii_json(value) == compact_json(value).encode("ascii")


PARTY = {"legalName": "ü", "url": "https://a.example", "gln": "4012345000009"}


MANY: dict[str, object] = {f"role {number}": {} for number in range(100)}


@pytest.mark.parametrize(
    "more", [{}, {"confirmOverage": True}, {"parties": {"manufacturer": PARTY}}, {"parties": MANY}]
)
def test_what_producers_send_goes_the_short_way(more: dict[str, object]) -> None:
    """Or it would be of no use."""
    value = as_json(body(**more))
    assert json_value._plain_object(value, 32) == json.loads(value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"a":"x","a":"y"}',
        b'{"a":"x","\\u0061":"y"}',
        b'{"b":{"a":"x","a":"y"}}',
        b'{"a" :"x","a" :"y"}',
        b'{"a":"://","a":"y"}',
        b'{"a":1.0}',
        b'{"a":1,"b":9007199254740992}',
        b'{"a":[]}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\\ud800"}',
        b'{"a":{"a":{"a":{}}}}',
        b"[]",
    ],
)
def test_what_is_not_certain_goes_the_long_way(value: bytes) -> None:
    """Keys that repeat, however they are spelled; large numbers, fractions and lists; what is no JSON object; depth."""
    assert json_value._plain_object(value, 3) is None
