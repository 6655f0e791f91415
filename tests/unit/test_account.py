"""The account of results, upon which every end-to-end test relies, notes what is wrong with them."""

import json

import pytest

from tests.invariants import Account
from tests.schema_checks import SCHEMAS
from tests.workbench import Result

BODY = json.loads((SCHEMAS / "examples" / "created.v1.valid.json").read_text(encoding="utf-8"))
OWN, OTHER = BODY["companyId"], "6650a0b1c2d3e4f5a6b7c8ff"


def _result(cause: int, *, key: str = "k", value: object = BODY, replayed: bool = False) -> Result:
    headers = [("ce_causationid", f"create/0/{cause}"), ("ce_companyid", OWN), ("ce_subject", f"id-{cause}")]
    headers += [("idempotency-replayed", "true")] if replayed else []
    encoded = tuple((name, text.encode()) for name, text in headers)
    return Result("created", 0, 0, key.encode(), json.dumps(value).encode(), encoded)


def _account(*results: Result) -> Account:
    account = Account({f"create/0/{offset}" for offset in range(3)}, {OWN, OTHER})
    for one in results:
        account.add(one, "created")
    return account


def test_all_is_well() -> None:
    """One result each, in order; a replay is no passport."""
    account = _account(_result(0), _result(1, replayed=True), _result(2))
    assert not account.lost
    assert not [*account.doubled, *account.differing, *account.disordered, *account.of_others, *account.leaking]
    assert account.created == ["id-0", "id-2"]
    assert account.results == {"created": 3}


@pytest.mark.parametrize(
    ("results", "noted", "places"),
    [
        ([_result(0), _result(2)], "lost", [1]),
        ([_result(0), _result(1), _result(1), _result(2)], "doubled", [1]),
        ([_result(0), _result(1), _result(1, key="other")], "differing", [1]),
        ([_result(1), _result(0), _result(2)], "disordered", [0]),
        ([_result(1, value={**BODY, "productId": OTHER})], "of_others", [1]),
        ([_result(1, key="tp_secret_x")], "leaking", [1]),
    ],
)
def test_what_is_wrong_is_noted(results: list[Result], noted: str, places: list[int]) -> None:
    """By the place of the command."""
    assert list(getattr(_account(*results), noted)) == [f"create/0/{offset}" for offset in places]


def test_a_body_that_breaks_its_schema_is_refused() -> None:
    """At once."""
    with pytest.raises(AssertionError, match="created body breaks its schema"):
        _account(_result(0, value={}))
