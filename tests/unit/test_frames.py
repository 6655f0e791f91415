"""Created events as passports keep them: taken apart and filled again, byte for byte, whatever is in them."""

import json
from string import ascii_letters, digits
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.catalogue import Product
from worker.domain.outcomes import Created
from worker.domain.seeding import seed_fields
from worker.domain.timestamps import LATEST_MS
from worker.messages.events import created_body
from worker.store.frames import Frame, Frames, frame_of, own_of

ID, COMPANY, PRODUCT, TEMPLATE = (f"{number:024x}" for number in (0xABC, 1, 2, 3))
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
SERIALS = st.one_of(
    st.text(ascii_letters + digits + "._~-", min_size=1, max_size=100),
    TEXTS,
    st.sampled_from(['"', "\\", "a/b", "100%", "%b", "%(x)s", "},", '},"status":', '"fields":{}', "ü", "\U0001f50b"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@st.composite
def created(draw: st.DrawFn) -> Created:
    """A passport of one product, whose fields and parties may hold anything."""
    keys = draw(st.lists(TEXTS, max_size=5, unique=True))
    fields = [{"key": key, "dataType": "string", "defaultValue": draw(VALUES)} for key in keys]
    seeded = seed_fields(json.dumps(fields), "{}", "{}")
    parties = draw(st.none() | st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=2))
    moment = draw(st.integers(0, LATEST_MS))
    return Created(
        ID,
        COMPANY,
        Product(PRODUCT, COMPANY, TEMPLATE, seeded),
        draw(st.from_regex(r"[0-9]{14}", fullmatch=True)),
        draw(SERIALS),
        parties,
        draw(st.none() | st.integers(0, 10_000)),
        moment,
        moment // 86_400_000,
        None,
        None,
    )


@given(st.lists(created(), min_size=1, max_size=4), st.sampled_from(["https://id.example", 'x"/01/%b', ""]))
def test_what_is_taken_apart_is_filled_again(passports: list[Created], base: str) -> None:
    """Byte for byte; also in a memory that knows other frames of the product."""
    frames = Frames()
    for one in passports:
        body = created_body(one, base)
        frame, own = frames.take_apart(one.product, body, own_of(one))
        assert frame.filled(own) == body
        assert frame.text == frame_of(body, own_of(one)).text
        assert Frame(frame.text).filled(own) == body
        assert bool(own.rest) is bool(one.parties or one.overage_price_cents is not None)


def passport(number: int, serial: str, gtin: str = "04006381333931", moment: int = 0, **own: Any) -> Created:
    """One of many of a product; `own` are parties and overage."""
    seeded = seed_fields('[{"key":"colour","dataType":"string","defaultValue":"100 % blue"}]', "{}", "{}")
    product = Product(PRODUCT, COMPANY, TEMPLATE, seeded)
    parties, price = own.get("parties"), own.get("overage_price_cents")
    day = moment // 86_400_000
    return Created(f"{number:024x}", COMPANY, product, gtin, serial, parties, price, moment, day, None, None)


@pytest.mark.parametrize(
    "others",
    [
        [("s-1", {}), ("s-2", {}), ("another_one.2", {})],
        [("s-1", {}), ("s-2", {"overage_price_cents": 75}), ("s-3", {"parties": {"manufacturer": {"name": "ü"}}})],
        [("s-1", {}), ("s-1", {"gtin": "00000000000000"})],
        [("a/b", {}), ("c d", {}), ('"', {"overage_price_cents": 1})],
    ],
    ids=["serial numbers", "what they agreed on", "GTINs", "serial numbers that a URI escapes"],
)
def test_passports_of_a_product_share_one_frame(others: list[tuple[str, dict[str, Any]]]) -> None:
    """Whatever is their own."""
    found = [
        frame_of(created_body(one, "https://id.example"), own_of(one)).id
        for one in (passport(number, serial, **more) for number, (serial, more) in enumerate(others))
    ]
    assert len(set(found)) == 1


def test_a_text_that_no_worker_writes_is_its_own_frame() -> None:
    """With `rest` or without, it comes back; what could be taken for a hole is refused."""
    one = passport(1, "s")
    ours = created_body(one, "b")
    for body in (b"{}", b"100 %", ours.replace(b'"gs1"', b'"gs2"'), ours.replace(b"draft", "dräft".encode())):
        frame, own = Frames().take_apart(one.product, body, own_of(one))
        assert (frame.text, frame.filled(own)) == (body, body)
    with pytest.raises(ValueError, match="control characters"):
        Frames().take_apart(one.product, b'{"a":"\x03"}', own_of(one))
