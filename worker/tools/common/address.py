"""Parses how people name a command: by its place, by its passport, by the code on the unit, or by company and key.

The search field of the console and `explain` take the same texts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from worker.domain import gs1
from worker.domain.command import is_object_id
from worker.domain.places import Place
from worker.messages.envelope import LONGEST_IDEMPOTENCY_KEY, is_idempotency_key
from worker.tools.common.selection import BadSelection, place_of

LONGEST = 600  # characters
_LINK = re.compile(r"https?://\S*/01/([0-9]{14})/21/([^/?#\s]+)\S*")
_ELEMENTS = re.compile(r"\(01\) *([0-9]{14}) *\(21\) *(\S.*)")
_UNIT = re.compile(r"([0-9]{14})(?:[ \t,;/]+)(\S.*)")
_KEY = re.compile(r"([0-9A-Fa-f]{24})(?:[ \t,;/]+)(\S.*)")
# A name may have spaces, and so may a key. Quotes mark where the name ends; without them the key is the last word.
_QUOTED = re.compile(r'"([^"]+)"[ \t,;/]*(\S.*)')
_NAMED = re.compile(r"(\S.*\S|\S)[ \t]+(\S+)")
_API_KEY = re.compile(r"\btp_\S")

EXPECTED = (
    "expected the id of a passport (24 hexadecimal digits), a GTIN and a serial number, a company and an idempotency "
    "key, a GS1 Digital Link, or the place of a command (partition/offset)"
)


@dataclass(frozen=True, slots=True)
class PassportId:
    """The id of a passport: 24 hexadecimal digits, in lower case."""

    id: str

    def __str__(self) -> str:
        """The address in words."""
        return f"passport {self.id}"


@dataclass(frozen=True, slots=True)
class Serial:
    """The GTIN and the serial number on a unit."""

    gtin: str
    serial: str

    def __str__(self) -> str:
        """The address in words."""
        return f"GTIN {self.gtin}, serial number {self.serial}"


@dataclass(frozen=True, slots=True)
class CompanyKey:
    """An idempotency key of a company, which is named by its id or its name."""

    company: str
    key: str

    def __str__(self) -> str:
        """The address in words."""
        return f"idempotency key {self.key} of company {self.company}"


Address: TypeAlias = Place | PassportId | Serial | CompanyKey


def address_of(text: str, topic: str) -> Address:
    """Parse the text; places are on `topic`. Raises `BadSelection`, which says what was expected."""
    text = _checked(text)
    if is_object_id(text):
        return PassportId(text.lower())
    if match := _LINK.fullmatch(text):
        return unit(match[1], unquote(match[2]))
    if match := _ELEMENTS.fullmatch(text) or _UNIT.fullmatch(text):
        return unit(match[1], match[2])
    if match := _KEY.fullmatch(text) or _QUOTED.fullmatch(text):
        return company_key(match[1], match[2])
    try:
        return place_of(text, topic)
    except BadSelection:
        if match := _NAMED.fullmatch(text):
            return _pair(match[1], match[2])
        raise BadSelection(EXPECTED) from None


def address_of_words(words: Sequence[str], topic: str) -> Address:
    """Parse the arguments of a command line. Two arguments are GTIN and serial number, or company and key."""
    if len(words) != 2:
        return address_of(" ".join(words), topic)
    return _pair(*map(_checked, words))


def text_of(address: Serial | CompanyKey) -> str | None:
    """A text that `address_of` reads as this address, such as for a link; None if no text is.

    `address_of` drops separators before a serial number or a key, and white space after it. A Digital Link keeps both.
    """
    texts = [f"{address.company} {address.key}"] if isinstance(address, CompanyKey) else _texts_of_unit(address)
    return next((text for text in texts if _is_read_as(text, address)), None)


def _texts_of_unit(unit: Serial) -> list[str]:
    serial = quote(unit.serial, safe="", errors="replace")
    return [f"{unit.gtin} {unit.serial}", f"https://id.gs1.org/01/{unit.gtin}/21/{serial}"]


def _is_read_as(text: str, address: Address) -> bool:
    try:
        return address_of(text, "") == address
    except BadSelection:
        return False


def _pair(first: str, second: str) -> Serial | CompanyKey:
    """Digits are a GTIN even if their number is wrong, so that the error is about the GTIN, not about a company."""
    # The id of a company may consist of digits alone.
    is_gtin = first.isdigit() and not is_object_id(first)
    return unit(first, second) if is_gtin else company_key(first, second)


def unit(gtin: str, serial: str) -> Serial:
    """A unit by its code. Raises `BadSelection`."""
    for name, problem in (("GTIN", gs1.gtin_problem(gtin)), ("serial number", gs1.serial_problem(serial))):
        if problem:
            raise BadSelection(f"{name}: {problem}")
    return Serial(gtin, serial)


def company_key(company: str, key: str) -> CompanyKey:
    """A key of a company. Raises `BadSelection` for a key that rule 4 refuses: no passport can be bound to it."""
    if not is_idempotency_key(key):
        expected = f"expected 1 to {LONGEST_IDEMPOTENCY_KEY} characters without control characters"
        raise BadSelection(f"idempotency key: {expected}")
    return CompanyKey(company.lower() if is_object_id(company) else company, key)


def _checked(text: str) -> str:
    text = text.strip()
    if len(text) > LONGEST:
        raise BadSelection(f"expected at most {LONGEST} characters, got {len(text)}")
    if _API_KEY.search(text):
        raise BadSelection(f"this looks like an API key, which cannot be searched for; {EXPECTED}")
    return text
