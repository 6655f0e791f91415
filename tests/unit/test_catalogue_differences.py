"""What loading a file would change, field by field."""

import json
from typing import Any

import pytest

from worker.tools.catalogue.compare import field_changes
from worker.tools.common.catalogue.file import parse_catalogue
from worker.tools.common.catalogue.rows import rows_of

PLAN = {"id": "p", "maxDpps": 1, "overagePriceCents": None, "maxV1WritesPerDay": None}
HASH = "ab" * 32


def _field(key: str, data_type: str = "string", default: object = None) -> dict[str, object]:
    return {"key": key, "dataType": data_type, "defaultValue": default}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (PLAN, PLAN, []),
        (PLAN, {**PLAN, "maxDpps": None}, [("maxDpps", "changed", 1, None)]),
        ({"prefill": {}}, {"prefill": {"a": None}}, [("prefill.a", "added", None, None)]),
        ({"prefill": {"a b": 1}}, {"prefill": {}}, [('prefill["a b"]', "removed", 1, None)]),
        ({"prefill": {"a": 1}}, {"prefill": {"a": 1.0}}, [("prefill.a", "changed", 1, 1.0)]),
        ({"prefill": {"a": 1}}, {"prefill": {"a": True}}, [("prefill.a", "changed", 1, True)]),
        ({"prefill": {"a": 1, "b": 2}}, {"prefill": {"b": 2, "a": 1}}, []),
        (
            {"fields": [_field("a")]},
            {"fields": [_field("a", "number", [1])]},
            [("fields.a.dataType", "changed", "string", "number"), ("fields.a.defaultValue", "changed", None, [1])],
        ),
        (
            {"fields": [_field("a"), _field("b")]},
            {"fields": [_field("b"), _field("a")]},
            [("fields (order)", "changed", ["a", "b"], ["b", "a"])],
        ),
        (
            {"fields": [_field("a")]},
            {"fields": [_field("b")]},
            [
                ("fields.b", "added", None, {"dataType": "string", "defaultValue": None}),
                ("fields.a", "removed", {"dataType": "string", "defaultValue": None}, None),
            ],
        ),
        ({"label": "x", "revokedAt": "t"}, {"label": "x"}, []),
        ({"label": "x"}, {"label": "x", "revokedAt": None}, []),
        ({"label": "x", "revokedAt": "t"}, {"label": "x", "revokedAt": None}, [("revokedAt", "changed", "t", None)]),
    ],
)
def test_differences(old: dict[str, Any], new: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    """By the texts that are kept; the order of prefilled values means nothing, that of fields does."""
    changes = field_changes(old, new)
    assert [(change.path, change.how, change.old, change.new) for change in changes] == expected


def test_rows_of_a_file() -> None:
    """As they would be kept, in the order of loading; a revocation only where the file speaks of it."""
    keys = [
        {"sha256": HASH.upper(), "revokedAt": "2026-01-01T01:00:00+01:00"},
        {"key": "tp_x", "label": "l"},
        {"sha256": "cd" * 32, "revokedAt": None},
    ]
    company = {"_id": "A" * 24, "name": "n", "plan": "p", "subscription": None, "apiKeys": keys}
    rows = list(rows_of(parse_catalogue(json.dumps({"plans": [PLAN], "companies": [company]}))))
    assert [(one.kind, one.company_id) for one in rows] == [
        ("plan", None),
        ("company", None),
        *[("api-key", "a" * 24)] * 3,
    ]
    assert rows[0].values == PLAN
    plain: dict[str, object] = {"_id": "a" * 24, "name": "n", "plan": "p", "subscription": None, "prefill": {}}
    assert rows[1].values == {**plain, "channels": None}
    assert rows[2].values == {"sha256": HASH, "label": "", "revokedAt": "2026-01-01T00:00:00Z"}
    assert rows[3].values == {"sha256": rows[3].id, "label": "l"}
    assert rows[4].values["revokedAt"] is None
