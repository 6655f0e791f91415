"""Text from the search field, as the address of a command."""

import re
from urllib.parse import unquote

from worker.domain import gs1
from worker.tools.common.selection import BadSelection, place_of
from worker.tools.explain.locate import Address, CompanyKey, PassportId, Serial, key_problem

LONGEST = 600  # characters
_ID = re.compile(r"[0-9A-Fa-f]{24}")
_LINK = re.compile(r"https?://\S*/01/([0-9]{14})/21/([^/?#\s]+)\S*")
_ELEMENTS = re.compile(r"\(01\) *([0-9]{14}) *\(21\) *(\S.*)")
_UNIT = re.compile(r"([0-9]{14})(?:[ \t,;/]+)(\S.*)")
_KEY = re.compile(r"([0-9A-Fa-f]{24})(?:[ \t,;/]+)(\S.*)")
_API_KEY = re.compile(r"\btp_\S")

EXPECTED = (
    "expected the id of a passport (24 hexadecimal digits), a GTIN and a serial number, the id of a company and an "
    "idempotency key, a GS1 Digital Link, or the place of a command (partition/offset)"
)


def address_of(text: str, topic: str) -> Address:
    """Parse the text; places are on `topic`. Raises `BadSelection`, which says what was expected."""
    text = text.strip()
    if len(text) > LONGEST:
        raise BadSelection(f"expected at most {LONGEST} characters, got {len(text)}")
    if _API_KEY.search(text):
        raise BadSelection(f"this looks like an API key, which cannot be searched for; {EXPECTED}")
    if _ID.fullmatch(text):
        return PassportId(text.lower())
    if match := _LINK.fullmatch(text):
        return _unit(match[1], unquote(match[2]))
    if match := _ELEMENTS.fullmatch(text) or _UNIT.fullmatch(text):
        return _unit(match[1], match[2])
    if match := _KEY.fullmatch(text):
        if problem := key_problem(match[2]):
            raise BadSelection(f"idempotency key: {problem}")
        return CompanyKey(match[1].lower(), match[2])
    try:
        return place_of(text, topic)
    except BadSelection:
        raise BadSelection(EXPECTED) from None


def _unit(gtin: str, serial: str) -> Address:
    for name, problem in (("GTIN", gs1.gtin_problem(gtin)), ("serial number", gs1.serial_problem(serial))):
        if problem:
            raise BadSelection(f"{name}: {problem}")
    return Serial(gtin, serial)
