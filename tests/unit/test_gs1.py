"""GTIN, GLN, serial numbers and Digital Links, at the edges of what they may be."""

import pytest
from biip.gs1_digital_link_uris import GS1DigitalLinkURI

from tests.unit.builders import GTIN, LINK_BASE
from worker.domain import gs1

NOT_DIGITS = "GTIN must be 14 digits"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GTIN, None),
        ("00000000000000", None),
        ("04012345000017", "GTIN check digit is invalid"),
        ("40123450000169", "GTIN check digit is invalid"),
        ("", NOT_DIGITS),
        ("4012345000016", NOT_DIGITS),
        ("004012345000016", NOT_DIGITS),
        ("04012345000016\n", NOT_DIGITS),
        ("04012345000016 ", NOT_DIGITS),
        (" 4012345000016", NOT_DIGITS),
        ("\uff10\uff14012345000016", NOT_DIGITS),
        ("\uff10" * 14, NOT_DIGITS),
        ("\u0660" * 14, NOT_DIGITS),
        ("\u00b2" * 14, NOT_DIGITS),
        ("0401234500001x", NOT_DIGITS),
        ("0401234500\x000016", NOT_DIGITS),
        ("\ud800" * 14, NOT_DIGITS),
    ],
)
def test_a_gtin_is_fourteen_ascii_digits_with_a_check_digit(text: str, problem: str | None) -> None:
    """Form first, check digit second, in the contract's words."""
    assert gs1.gtin_problem(text) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("4012345000009", None),
        ("4012345000008", "GLN check digit is invalid"),
        ("04012345000016", "GLN must be 13 digits"),
        ("401234500000", "GLN must be 13 digits"),
        ("4012345000009\n", "GLN must be 13 digits"),
        ("\uff14012345000009", "GLN must be 13 digits"),
    ],
)
def test_a_gln_is_thirteen_ascii_digits_with_a_check_digit(text: str, problem: str | None) -> None:
    """As for GTIN."""
    assert gs1.gln_problem(text) == problem


def test_refused_text_is_not_remembered() -> None:
    """A producer of megabyte-long GTINs does not fill the memory of the worker with them."""
    gs1.check_digit_is_valid.cache_clear()
    for length in range(100):
        gs1.gtin_problem("x" * length)
        gs1.gln_problem("7" * (length + 15))
    assert gs1.check_digit_is_valid.cache_info().currsize == 0


LENGTH, UNSAFE = "Expected 1 to 100 characters", "Expected no control characters or lone surrogates"
DOTS = 'Expected a serial number other than "." and ".."'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1", None),
        ("x" * 100, None),
        ("\U0001f600" * 100, None),
        (" padded ", None),
        ("...", None),
        (".a", None),
        ("a/b", None),
        ("\u200b\ufeff\u2028\ue000", None),
        ("", LENGTH),
        ("x" * 101, LENGTH),
        (".", DOTS),
        ("..", DOTS),
        ("a\0", UNSAFE),
        ("a\n", UNSAFE),
        ("\x1f", UNSAFE),
        ("\x7f", UNSAFE),
        ("\x80", UNSAFE),
        ("\x9f", UNSAFE),
        ("\ud800", UNSAFE),
        ("a\udfff", UNSAFE),
    ],
)
def test_a_serial_number_is_one_to_a_hundred_harmless_characters(text: str, problem: str | None) -> None:
    """Counted in characters, never trimmed."""
    assert gs1.serial_problem(text) == problem


@pytest.mark.parametrize(
    ("serial", "conformant"),
    [
        ("BP-48V-100-000001", True),
        ("x" * 20, True),
        ("x" * 21, False),
        ("!\"%&'()*+,-./_:;<=>?", True),
        *((character, False) for character in " #$@[\\]^`{|}~é\u0660"),
        ("a\n", False),
    ],
)
def test_conformance_is_that_of_application_identifier_21(serial: str, conformant: bool) -> None:
    """1 to 20 characters of the 82 that GS1 allows."""
    assert gs1.is_conformant_serial(serial) is conformant


def test_the_character_set_has_82_characters() -> None:
    """GS1 General Specifications figure 7.11-1."""
    assert sum(gs1.is_conformant_serial(chr(code)) for code in range(0x3000)) == 82


@pytest.mark.parametrize(
    ("serial", "encoded"),
    [
        ("BP-48V-100-000001", "BP-48V-100-000001"),
        ("AZaz09-._~", "AZaz09-._~"),
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("% +", "%25%20%2B"),
        ("é€\U0001f600", "%C3%A9%E2%82%AC%F0%9F%98%80"),
        ("!'()*", "%21%27%28%29%2A"),
    ],
)
def test_digital_links_encode_all_but_the_unreserved(serial: str, encoded: str) -> None:
    """UTF-8 with upper-case hexadecimal digits (RFC 3986 section 2.1)."""
    assert gs1.digital_link_uri(LINK_BASE, GTIN, serial) == f"https://id.tracepass.eu/p/01/{GTIN}/21/{encoded}"


def test_the_digital_link_is_one_to_others() -> None:
    """biip reads the GTIN and the serial number back."""
    link = GS1DigitalLinkURI.parse(gs1.digital_link_uri(LINK_BASE, GTIN, "A/1%+"))
    assert [(item.ai.ai, item.value) for item in link.element_strings] == [("01", GTIN), ("21", "A/1%+")]


def test_safe_text_is_what_the_expression_of_unsafe_characters_lets_through() -> None:
    """Of the characters up to U+02FF, next to surrogates, and beyond the basic plane; also behind a printable one."""
    characters = [*range(0x300), *range(0xD7FE, 0xE002), 0x2028, 0xFEFF, 0xFFFF, 0x1F600]
    for character in map(chr, characters):
        assert gs1.is_safe(character) == gs1.is_safe("a" + character) == (gs1.UNSAFE_TEXT.search(character) is None)
    assert gs1.is_safe("")
