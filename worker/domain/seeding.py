"""Fields of a new passport, filled from product defaults, template defaults and company prefill, in this order."""

import json
from collections.abc import Mapping
from sys import getsizeof
from typing import NamedTuple, cast

from worker.domain.cache import Cache

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


# In ASCII: with escapes every string can be encoded, even one with lone surrogates.
compact_json = json.JSONEncoder(separators=(",", ":")).encode


class SeededFields(NamedTuple):
    """The fields that each new passport of a product gets: counted, and encoded as `{key: {value, status, …}}`."""

    total: int
    approved: int
    json: str

    @property
    def completion_percentage(self) -> int:
        """`floor(100 * approved / total)`; 0 for a template without fields."""
        return 100 * self.approved // self.total if self.total else 0

    @property
    def is_large(self) -> bool:
        """Whether the store reads the product for each turn, since a few of these would fill its memory."""
        return getsizeof(self.json) > _LARGE_BYTES


_LARGE_BYTES = 64 * 1024
# Only large ones, so that they are read for each turn, but not seeded again. The store remembers small ones.
_seeded: Cache[SeededFields] = Cache(16 * 1024 * 1024)
_templates: Cache[Mapping[str, tuple[str, str]]] = Cache(8 * 1024 * 1024)


def _template(template_fields: str) -> Mapping[str, tuple[str, str]]:
    """By key: the key as JSON, and the field of a product that gives no value for it."""
    known = _templates.get((template_fields,))
    if known is not None:
        return known
    fields = cast(list[dict[str, Json]], json.loads(template_fields))
    keys = [(cast(str, field["key"]), field.get("defaultValue")) for field in fields]
    made = {key: (compact_json(key), _approved("template", default) or _EMPTY) for key, default in keys}
    entries = sum(getsizeof(key) + getsizeof(both) + sum(map(getsizeof, both)) for key, both in made.items())
    _templates.put((template_fields,), made, getsizeof(made) + entries)
    return made


def seed_fields(template_fields: str, product_defaults: str, company_prefill: str) -> SeededFields:
    """Fill the fields of a template.

    All three arguments are JSON texts from the catalogue: an array of `{key, dataType, defaultValue}`, and two objects
    with values by key. Keys that the template lacks are ignored.
    """
    texts = (template_fields, product_defaults, company_prefill)
    known = _seeded.get(texts)
    if known is not None:
        return known
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
    if made.is_large:
        _seeded.put(texts, made, getsizeof(made.json))
    return made


_EMPTY = '{"value":null,"status":"empty"}'


def _approved(source: str, value: Json) -> str | None:
    """A field with a value, as JSON; None for null and the empty string, which count as no value."""
    if value is None or value == "":
        return None
    return f'{{"value":{compact_json(value)},"status":"approved","source":"{source}"}}'
