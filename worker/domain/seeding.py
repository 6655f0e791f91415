"""How the fields of a new passport are filled: product default, template default, company prefill, in this order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from sys import getsizeof
from typing import cast

from worker.domain.cache import Cache

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
