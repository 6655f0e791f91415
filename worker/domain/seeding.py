"""How the fields of a new passport are filled: product default, template default, company prefill, in this order."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from sys import getsizeof
from typing import Generic, TypeVar, cast

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


compact_json = json.JSONEncoder(separators=(",", ":")).encode
"""Compact JSON in ASCII: escapes keep every string, lone surrogates too, encodable."""


@dataclass(frozen=True, slots=True)
class SeededFields:
    """The fields of every new passport of one product, counted, and encoded once as `{key: {value, status, …}}`."""

    total: int
    approved: int
    json: str

    @property
    def completion_percentage(self) -> int:
        """`floor(100 * approved / total)`; 0 for a template without fields."""
        return 100 * self.approved // self.total if self.total else 0


Made = TypeVar("Made")


class Cache(Generic[Made]):
    """What was made of JSON texts; what was used least lately goes where all together is larger than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, ...], tuple[Made, int]] = OrderedDict()
        self.bytes = 0

    def get(self, texts: tuple[str, ...]) -> Made | None:
        """What was made of these texts, if it is still there."""
        found = self._kept.get(texts)
        if found is None:
            return None
        self._kept.move_to_end(texts)
        return found[0]

    def put(self, texts: tuple[str, ...], made: Made, size: int) -> None:
        """Keep what was made of texts that are not here; `size` is how many bytes of memory it takes by itself."""
        size += sum(map(getsizeof, texts)) + _ENTRY_BYTES
        self._kept[texts] = made, size
        self.bytes += size
        while self.bytes > self._most_bytes:
            _, (_, gone) = self._kept.popitem(last=False)
            self.bytes -= gone


_ENTRY_BYTES = 400
"""About what an entry takes besides its texts and what was made of them."""

_seeded: Cache[SeededFields] = Cache(24 * 1024 * 1024)
_templates: Cache[Mapping[str, tuple[str, str]]] = Cache(8 * 1024 * 1024)


def _template(template_fields: str) -> Mapping[str, tuple[str, str]]:
    """By key: the key as JSON, and the field that it is by default."""
    found = _templates.get((template_fields,))
    if found is not None:
        return found
    fields = cast(list[dict[str, Json]], json.loads(template_fields))
    keys = [(cast(str, field["key"]), field.get("defaultValue")) for field in fields]
    made = {key: (compact_json(key), _approved("template", default) or _EMPTY) for key, default in keys}
    own = sum(getsizeof(key) + getsizeof(both) + sum(map(getsizeof, both)) for key, both in made.items())
    _templates.put((template_fields,), made, getsizeof(made) + own)
    return made


def seed_fields(template_fields: str, product_defaults: str, company_prefill: str) -> SeededFields:
    """Fill the fields of a template.

    All three are JSON texts, as the catalogue stores them: an array of `{key, dataType, defaultValue}`, and two
    objects of values by key. Defaults and prefill for keys that the template lacks are ignored.
    """
    texts = (template_fields, product_defaults, company_prefill)
    found = _seeded.get(texts)
    if found is not None:
        return found
    defaults = cast(dict[str, Json], json.loads(product_defaults))
    prefill = cast(dict[str, Json], json.loads(company_prefill))
    fields, approved = [], 0
    for key, (name, by_default) in _template(template_fields).items():
        field = _approved("product", defaults.get(key)) or by_default
        if field is _EMPTY:
            field = _approved("company", prefill.get(key)) or _EMPTY
        approved += field is not _EMPTY
        fields.append(f"{name}:{field}")
    made = SeededFields(total=len(fields), approved=approved, json=f"{{{','.join(fields)}}}")
    _seeded.put(texts, made, getsizeof(made.json))
    return made


_EMPTY = '{"value":null,"status":"empty"}'


def _approved(source: str, value: Json) -> str | None:
    """A field with a value as JSON; None where there is no value."""
    if value is None or value == "":
        return None
    return f'{{"value":{compact_json(value)},"status":"approved","source":"{source}"}}'
