"""Texts that name a command, in the search field of the console and for `explain`; and what is said of others."""

import pytest

from worker.domain.places import Place
from worker.tools.common.address import (
    EXPECTED,
    LONGEST,
    Address,
    CompanyKey,
    PassportId,
    Serial,
    address_of,
    address_of_words,
    text_of,
)
from worker.tools.common.selection import BadSelection

GTIN, COMPANY, TOPIC = "04012345000016", "6650a0b1c2d3e4f5a6b7c8d9", "commands"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("6650B2C3d4e5f6a7b8c9d0e1", PassportId("6650b2c3d4e5f6a7b8c9d0e1")),
        (f" {GTIN} U1 ", Serial(GTIN, "U1")),
        (f"{GTIN}, U 1", Serial(GTIN, "U 1")),
        (f"{GTIN}/12/34", Serial(GTIN, "12/34")),
        (f"(01){GTIN}(21)U-1", Serial(GTIN, "U-1")),
        (f"https://id.tracepass.eu/p/01/{GTIN}/21/U%2F1%20%C3%BC", Serial(GTIN, "U/1 ü")),
        (f"http://example.com/01/{GTIN}/21/U1?linkType=all#x", Serial(GTIN, "U1")),
        (f"{COMPANY} order 4711/1", CompanyKey(COMPANY, "order 4711/1")),
        ("EuroBat order-4711", CompanyKey("EuroBat", "order-4711")),
        ("Nordic Cells  order-4711", CompanyKey("Nordic Cells", "order-4711")),
        ('"Nordic Cells" order 4711/1', CompanyKey("Nordic Cells", "order 4711/1")),
        (f"{COMPANY}\t" + "k" * 255, CompanyKey(COMPANY, "k" * 255)),
        ("3/12017", Place(TOPIC, 3, 12017)),
        ("other.topic:3:12017", Place("other.topic", 3, 12017)),
    ],
)
def test_each_thing_in_hand_leads_to_its_address(text: str, address: Address) -> None:
    """As it stands on a unit, in a result, in a producer's system."""
    assert address_of(text, TOPIC) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", EXPECTED),
        ("hello", EXPECTED),
        ("<script>alert(1)</script>", EXPECTED),
        ("04012345000017 U1", "GTIN: GTIN check digit is invalid"),
        ("4012345000016 U1", "GTIN: GTIN must be 14 digits"),
        (f"{GTIN} ..", "serial number: "),
        (f"{GTIN} " + "s" * 101, "serial number: "),
        (f"{COMPANY} " + "k" * 256, "idempotency key: expected 1 to 255 characters"),
        (f"{COMPANY} a\u0007b", "idempotency key: "),
        ("٣/12", EXPECTED),
        ("x" * (LONGEST + 1), f"expected at most {LONGEST} characters, got {LONGEST + 1}"),
        ("tp_live_secret", "this looks like an API key, which cannot be searched for"),
        (f"{COMPANY} tp_live_secret", "this looks like an API key"),
    ],
)
def test_what_leads_nowhere_is_told_with_what_was_expected(text: str, said: str) -> None:
    """And an API key, pasted in a hurry, is not repeated."""
    with pytest.raises(BadSelection) as caught:
        address_of(text, TOPIC)
    assert str(caught.value).startswith(said)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (["3/12017"], Place(TOPIC, 3, 12017)),
        ([GTIN, "U 1, 2"], Serial(GTIN, "U 1, 2")),
        ([GTIN, "12/34"], Serial(GTIN, "12/34")),
        (["Nordic Cells", "order 4711"], CompanyKey("Nordic Cells", "order 4711")),
        ([COMPANY.upper(), "order 4711"], CompanyKey(COMPANY, "order 4711")),
        (["Nordic", "Cells", "order-4711"], CompanyKey("Nordic Cells", "order-4711")),
        (["9" * 24, "k"], CompanyKey("9" * 24, "k")),
    ],
)
def test_two_arguments_are_taken_as_they_stand(words: list[str], address: Address) -> None:
    """A shell has told where each ends, so a serial number, a name and a key may hold anything."""
    assert address_of_words(words, TOPIC) == address


@pytest.mark.parametrize("words", [[], ["7"], [GTIN, ""], ["EuroBat", "k" * 256], ["EuroBat", "tp_live_secret"]])
def test_arguments_that_lead_nowhere_are_told_so(words: list[str]) -> None:
    """None of them asks a server."""
    with pytest.raises(BadSelection):
        address_of_words(words, TOPIC)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Serial(GTIN, "U 1"), f"{GTIN} U 1"),
        (Serial(GTIN, "/123"), f"https://id.gs1.org/01/{GTIN}/21/%2F123"),
        (Serial(GTIN, "U1 "), f"https://id.gs1.org/01/{GTIN}/21/U1%20"),
        (Serial(GTIN, ";ü/"), f"https://id.gs1.org/01/{GTIN}/21/%3B%C3%BC%2F"),
        (Serial("04012345000017", "U1"), None),
        (Serial(GTIN, "tp_1"), None),
        (CompanyKey(COMPANY, "order 4711/1"), f"{COMPANY} order 4711/1"),
        (CompanyKey(COMPANY, "/order/1"), None),
        (CompanyKey(COMPANY, "k "), None),
    ],
)
def test_a_text_leads_to_its_own_address_or_there_is_none(address: Serial | CompanyKey, text: str | None) -> None:
    """Seen to fail before: the link of a serial number `/123` led to the unit `123`."""
    assert text_of(address) == text
    assert text is None or address_of(text, TOPIC) == address
