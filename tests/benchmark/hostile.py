"""Records that would make a worker swell: each asks for far more memory than it holds, or is as large as they come."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import accumulate, count, takewhile

from tests.benchmark.catalogue import BenchProduct, product
from tests.benchmark.commands import BenchCommand
from worker.tools.common.catalogue.models import Catalogue

VALUE_BYTES = 64 * 1024
"""The largest value that is readable."""

RECORD_BYTES = 1_000_000
"""About the largest record that the command topic takes."""

Sent = tuple[bytes, list[tuple[str, bytes]]]
"""Value and headers of a record."""


def _filled(begin: str, part: Callable[[int], str], end: str, size: int = VALUE_BYTES) -> bytes:
    """JSON of nearly `size` bytes: as many parts as fit, separated by commas."""
    room = size - len(begin) - len(end)
    lengths = accumulate(len(part(number)) + 1 for number in count())
    fitting = sum(1 for _ in takewhile(lambda length: length <= room, lengths))
    return f"{begin}{','.join(map(part, range(fitting)))}{end}".encode()


def _body(number: int) -> str:
    one = product(number % 10)
    return f'{{"productId":"{one.product_id}","gs1":{{"gtin":"{one.gtin}","serialNumber":"{number}"}}'


_VALUES: dict[str, bytes] = {
    "field errors": _filled('{"parties":{', lambda at: f'"{at}":0', "}}"),
    "long field errors": _filled('{"parties":{', lambda at: f'"{at:0600}\x7f":0', "}}"),
    "many small field errors": _filled('{"parties":{', lambda at: f'"{at}":0', "}}", 700),
    "empty roles": _filled('{"parties":{', lambda at: f'"{at:x}":{{}}', "}}"),
    "tiny objects": _filled("{", lambda at: f'"{at:x}":{{}}', "}"),
    "tiny arrays": _filled('{"a":[', lambda at: "[]", "]}"),
    "small numbers": _filled('{"a":[', lambda at: f"{at}.5", "]}"),
    "deep": _filled('{"a":[', lambda at: '{"":' * 15 + "[" * 15 + "]" * 15 + "}" * 15, "]}"),
    "wide characters": _filled('{"a":"\U0001f50b', lambda at: "x" * 1000, '"}'),
    "text that is not JSON": b"[" * VALUE_BYTES,
    "megabyte": b"x" * RECORD_BYTES,
}


def _headers(number: int) -> list[tuple[str, bytes]]:
    """Credentials that are known for every second record, and an idempotency key for two of three."""
    key = product(number % 10).api_key if number % 2 else "tp_unknown"
    own = [("authorization", f"Bearer {key}".encode())]
    return [*own, ("idempotency-key", f"hostile-{number}".encode())] if number % 3 else own


def _value(value: bytes) -> Callable[[int], Sent]:
    return lambda number: (value, _headers(number))


def _more_headers(more: list[tuple[str, bytes]]) -> Callable[[int], Sent]:
    """A valid body, under headers of which some are readable and others too large or too many."""
    return lambda number: (f"{_body(number)}}}".encode(), [*_headers(number), *more])


KINDS: dict[str, Callable[[int], Sent]] = {
    **{name: _value(value) for name, value in _VALUES.items()},
    "60 headers of 8 KB": _more_headers([(f"h{at}", b"x" * 8192) for at in range(60)]),
    "60 headers of 16 KB": _more_headers([(f"h{at}", b"x" * 16384) for at in range(60)]),
    "9,000 headers": _more_headers([(f"h{at}", b"x" * 100) for at in range(9_000)]),
    "one long header name": _more_headers([("h" * 900_000, b"")]),
    "tiny headers": _more_headers([(f"{at % 1000:03}", b"") for at in range(190_000)]),
}
"""What the record of a number is, by the name of its kind."""


def hostile(kind: str, amount: int, partitions: int) -> Iterator[BenchCommand]:
    """So many records of a kind, over all partitions."""
    for number in range(amount):
        value, headers = KINDS[kind](number)
        yield BenchCommand(number % partitions, value, headers)


LARGEST_JSON = 128 * 1024
"""What template fields, product defaults and company prefill may each hold."""


def largest_catalogue(products: int) -> Catalogue:
    """Products that seed the largest passports that there can be, each of a company and with a template of its own.

    Every second company's subscription is over, so that its products are looked up for nothing.
    """
    numbers = range(products)
    return Catalogue.model_validate(
        {
            "plans": [{"id": "large", "maxDpps": None, "overagePriceCents": None, "maxV1WritesPerDay": None}],
            "companies": [_company(product(_FIRST + number), number) for number in numbers],
            "templates": [_template(f"{0xF0 << 64 | number:024x}", number) for number in numbers],
            "products": [_product(product(_FIRST + number), f"{0xF0 << 64 | number:024x}") for number in numbers],
        }
    )


def largest(amount: int, products: int, partitions: int, prefix: str, *, odd: bool) -> Iterator[BenchCommand]:
    """Commands for the largest products, whose company may write, or (`odd`) may not; each has a key of its own."""
    for number in range(amount):
        one = product(_FIRST + (2 * number + odd) % products)
        body = f'{{"productId":"{one.product_id}","gs1":{{"gtin":"{one.gtin}","serialNumber":"{prefix}-{number}"}}}}'
        headers = [
            ("authorization", f"Bearer {one.api_key}".encode()),
            ("idempotency-key", f"{prefix}-{number}".encode()),
        ]
        yield BenchCommand(number % partitions, body.encode(), headers)


_FIRST = 1000
"""Companies before are those of the shape."""


def _texts(prefix: str, size: int) -> dict[str, str]:
    """Values of a thousand characters, `size` bytes of JSON together."""
    return {f"{prefix}{at:03}": "x" * 1000 for at in range(size // 1013)}


def _company(one: BenchProduct, number: int) -> dict[str, object]:
    digest = sha256(one.api_key.encode()).hexdigest()
    return {
        "_id": one.company_id,
        "name": "Large",
        "plan": "large",
        "subscription": "past_due" if number % 2 else "active",
        "prefill": _texts("c", LARGEST_JSON),
        "apiKeys": [{"sha256": digest, "label": "large", "revokedAt": None}],
    }


def _template(template_id: str, number: int) -> dict[str, object]:
    empty = [{"key": f"{letter}{at:03}", "dataType": "s", "defaultValue": None} for letter in "pc" for at in range(129)]
    own = [
        {"key": key, "dataType": "s", "defaultValue": text} for key, text in _texts("t", LARGEST_JSON - 20_000).items()
    ]
    return {"_id": template_id, "category": f"large-{number}", "version": 1, "fields": [*empty, *own]}


def _product(one: BenchProduct, template_id: str) -> dict[str, object]:
    return {
        "_id": one.product_id,
        "companyId": one.company_id,
        "templateId": template_id,
        "name": "Large",
        "model": "L",
        "defaultFieldValues": _texts("p", LARGEST_JSON),
    }
