"""GS1 identification keys: GTIN-14, GLN, serial number (AI 21) and GS1 Digital Link URIs."""

import re
from functools import lru_cache
from urllib.parse import quote

_FOURTEEN_DIGITS = re.compile(r"[0-9]{14}")
_THIRTEEN_DIGITS = re.compile(r"[0-9]{13}")
UNRESERVED = r"[0-9A-Za-z._~-]+"
"""Regular expression of a serial number that needs no escape in a URI (RFC 3986, 2.3)."""
_UNRESERVED = re.compile(UNRESERVED)
_CSET_82_UP_TO_20 = re.compile(r"""[!"%-?A-Z_a-z]{1,20}""")

UNSAFE_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no stored string may hold: Unicode category Cc and lone surrogates."""


def is_safe(text: str) -> bool:
    """Whether no character of the text is unsafe."""
    # No unsafe character is printable, and `isprintable` takes a third of the time of the regular expression.
    return text.isprintable() or not UNSAFE_TEXT.search(text)


def with_check_digit(digits: str) -> str:
    """ASCII digits and their GS1 check digit (GS1 General Specifications 7.9.1: weights 3, 1, 3, … from the right)."""
    from_right = digits[::-1]
    weighted = 3 * sum(map(int, from_right[::2])) + sum(map(int, from_right[1::2]))
    return f"{digits}{-weighted % 10}"


# Callers must check the length first, so that nobody can fill this cache with long texts.
@lru_cache(maxsize=16384)
def check_digit_is_valid(digits: str) -> bool:
    """Whether the last of these ASCII digits is the GS1 check digit of the others."""
    return with_check_digit(digits[:-1]) == digits


def gtin_problem(text: str) -> str | None:
    """The problem of a GTIN-14, or None. Only ASCII digits count as digits (GS1 General Specifications 7.9)."""
    if not _FOURTEEN_DIGITS.fullmatch(text):
        return "GTIN must be 14 digits"
    if not check_digit_is_valid(text):
        return "GTIN check digit is invalid"
    return None


def gln_problem(text: str) -> str | None:
    """The problem of a 13-digit GLN, or None (GS1 General Specifications 3.2)."""
    if not _THIRTEEN_DIGITS.fullmatch(text):
        return "GLN must be 13 digits"
    if not check_digit_is_valid(text):
        return "GLN check digit is invalid"
    return None


def serial_problem(text: str) -> str | None:
    """The problem of a serial number of 1-100 characters, or None."""
    if not 1 <= len(text) <= 100:
        return "Expected 1 to 100 characters"
    if not is_safe(text):
        return "Expected no control characters or lone surrogates"
    if text in (".", ".."):  # URI paths drop these segments
        return 'Expected a serial number other than "." and ".."'
    return None


def is_conformant_serial(serial: str) -> bool:
    """Whether the serial is a GS1 AI 21 value: 1-20 characters of the 82-character set."""
    return _CSET_82_UP_TO_20.fullmatch(serial) is not None


def digital_link_uri(base: str, gtin: str, serial: str) -> str:
    """GS1 Digital Link URI. The serial is percent-encoded as UTF-8, all but RFC 3986's unreserved characters."""
    # Most serial numbers need no escape, and `quote` takes three times as long to find that out.
    # `safe` is empty, since a slash in a serial number would begin another segment of the path.
    escaped = serial if _UNRESERVED.fullmatch(serial) else quote(serial, safe="")
    return f"{base}/01/{gtin}/21/{escaped}"
