"""How the fields of a new passport are filled: product default, template default, company prefill, in this order."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def compact_json(value: object) -> str:
    """Compact JSON in ASCII: escapes keep every string, lone surrogates too, encodable."""
    return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class SeededFields:
    """The fields of every new passport of one product, counted, and encoded once as `{key: {value, status, …}}`."""

    total: int
    approved: int
    json: str

    @property
    def completion_percentage(self) -> int:
        """`floor(100 * approved / total)`; 0 for a template without fields (contract section 4)."""
        return 100 * self.approved // self.total if self.total else 0


def _is_empty(value: Json) -> bool:
    return value is None or value == ""


def _field(candidates: tuple[tuple[str, Json], ...]) -> dict[str, Json]:
    for source, value in candidates:
        if not _is_empty(value):
            return {"value": value, "status": "approved", "source": source}
    return {"value": None, "status": "empty"}


@lru_cache(maxsize=1024)
def seed_fields(template_fields: str, product_defaults: str, company_prefill: str) -> SeededFields:
    """Fill the fields of a template.

    All three are JSON texts, as the catalogue stores them: an array of `{key, dataType, defaultValue}`, and two
    objects of values by key. Defaults and prefill for keys that the template lacks are ignored.
    """
    template = cast(list[dict[str, Json]], json.loads(template_fields))
    defaults = cast(dict[str, Json], json.loads(product_defaults))
    prefill = cast(dict[str, Json], json.loads(company_prefill))
    fields: dict[str, Json] = {}
    for field in template:
        key = cast(str, field["key"])
        fields[key] = _field(
            (("product", defaults.get(key)), ("template", field.get("defaultValue")), ("company", prefill.get(key)))
        )
    approved = sum(1 for field in fields.values() if cast(dict[str, Json], field)["status"] == "approved")
    return SeededFields(total=len(fields), approved=approved, json=compact_json(fields))
