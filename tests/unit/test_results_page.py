"""`schemas/read-results.md` is right about what a consumer meets."""

import json
from datetime import UTC, datetime

import jsonschema_rs

from tests.schema_checks import check_event, validator
from tests.workbench import REPOSITORY
from worker.testing import Passports

PAGE = " ".join((REPOSITORY / "schemas" / "read-results.md").read_text(encoding="utf-8").split())
NOW = datetime(2026, 5, 9, 10, tzinfo=UTC)


def test_a_replay_repeats_the_overage_under_another_id_as_the_page_says() -> None:
    """Seen to fail before: the page promised that nothing needs deduplication; who booked per event booked twice."""
    passports = Passports(REPOSITORY / "deploy" / "catalogue.example.yaml")

    def answer(serial: str, key: str) -> dict[str, object]:
        gs1 = {"gtin": "04012345000054", "serialNumber": serial}
        body = {"productId": "6650a1b2c3d4e5f6a7b8c9d4", "gs1": gs1, "confirmOverage": True}
        headers = [("authorization", "Bearer tp_demo_filature"), ("idempotency-key", key)]
        result = passports.answer(json.dumps(body).encode(), headers, NOW)
        return {**result.body, **{name: result.header(name) for name in ("ce_id", "idempotency-replayed")}}

    for number in range(20):
        assert "overage" not in answer(f"F-{number}", f"key-{number}")
    charged, again = answer("F-20", "k"), answer("F-20", "k")
    assert charged["overage"] == again["overage"] == {"priceCents": 35}
    assert charged["_id"] == again["_id"]
    assert charged["ce_id"] != again["ce_id"]
    assert (charged["idempotency-replayed"], again["idempotency-replayed"]) == (None, "true")
    assert "another `ce_id`, the header `idempotency-replayed: true`, and the same body, `overage` included" in PAGE
    assert "such as a label or a booking, goes by the body's `_id`" in PAGE
    assert "you need no deduplication" not in PAGE


def test_a_url_that_is_no_uri_is_repeated_as_the_page_says() -> None:
    """Seen to fail before: the page did not say that `format: uri` is too narrow, and validators refused results."""
    url = "https://m\u00fcller-batterien.de/"
    party = {"legalName": "M", "legacyOperatorId": "1", "url": url}
    gs1 = {"gtin": "04012345000016", "serialNumber": "1"}
    body = {"productId": "6650a1b2c3d4e5f6a7b8c9d0", "gs1": gs1, "parties": {"manufacturer": party}}
    passports = Passports(REPOSITORY / "deploy" / "catalogue.example.yaml")
    created = passports.answer(json.dumps(body).encode(), [("authorization", "Bearer tp_demo_eurobat_mes_1")], NOW)
    assert created.outcome == "created"
    check_event("created", created.value or b"")
    asserting = jsonschema_rs.Draft202012Validator(json.dumps(validator("created.v1").schema), validate_formats=True)
    assert not asserting.is_valid(created.body)
    assert created.body["parties"]["manufacturer"]["url"] == url
    assert f"such as `{url}`" in PAGE
