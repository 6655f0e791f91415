"""`worker.testing` as others use it in their unit tests: what it takes and refuses, and time and places of its own."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.unit.signing_builders import RFC_8037
from tests.workbench import REPOSITORY, gtin
from worker.settings import Settings
from worker.testing import Passports
from worker.tools.common.catalogue.file import CatalogueError, parse_catalogue
from worker.tools.common.signer import Signer

SAMPLE = REPOSITORY / "deploy" / "catalogue.example.yaml"
PRODUCT, PILOT_PRODUCT = "6650a1b2c3d4e5f6a7b8c9d0", "6650a1b2c3d4e5f6a7b8c9d9"
KEY, PILOT_KEY, REVOKED_KEY = "tp_demo_eurobat_mes_1", "tp_demo_velo", "tp_demo_eurobat_mes_0"
NOW = datetime(2026, 5, 9, 10, tzinfo=UTC)


def _value(serial: str, product_id: str = PRODUCT) -> bytes:
    number = int(product_id[-1], 16)
    return json.dumps({"productId": product_id, "gs1": {"gtin": gtin(number), "serialNumber": serial}}).encode()


def _headers(api_key: str = KEY, key: str | None = None) -> list[tuple[str, bytes | None]]:
    headers: list[tuple[str, bytes | None]] = [("authorization", f"Bearer {api_key}".encode())]
    return headers if key is None else [*headers, ("idempotency-key", key.encode())]


def test_what_was_created_counts_for_what_comes_after() -> None:
    """Replays within 24 hours, then a serial number that is taken; nothing is shared with another instance."""
    passports = Passports(SAMPLE)
    first = passports.answer(_value("a"), _headers(key="k"), NOW)
    again = passports.answer(_value("a"), _headers(key="k"), NOW + timedelta(hours=24, milliseconds=-1))
    late = passports.answer(_value("a"), _headers(key="k"), NOW + timedelta(hours=24))
    assert [one.outcome for one in (first, again, late)] == ["created", "replayed", "serial-exists"]
    assert again.value == first.value
    assert again.header("idempotency-replayed") == "true"
    assert late.body["passportId"] == first.body["_id"]
    assert Passports(SAMPLE).answer(_value("a"), _headers(), NOW).outcome == "created"


def test_time_is_the_appends_alone() -> None:
    """Six passports a day, which begins anew at midnight (UTC); a key that is revoked from a moment on."""
    passports = Passports(SAMPLE)
    at = [*(NOW + timedelta(minutes=number) for number in range(7)), NOW + timedelta(hours=14)]
    said = [passports.answer(_value(str(n), PILOT_PRODUCT), _headers(PILOT_KEY), one) for n, one in enumerate(at)]
    assert [one.outcome for one in said] == ["created"] * 6 + ["daily-writes-spent", "created"]
    revoked = datetime(2026, 3, 31, 22, tzinfo=UTC)
    for moment, outcome in ((revoked - timedelta(milliseconds=1), "created"), (revoked, "unauthorized")):
        assert passports.answer(_value("r"), _headers(REVOKED_KEY), moment).outcome == outcome


def test_signatures_are_checked_by_the_catalogues_keys() -> None:
    """And a company that has moved takes no API key any more."""
    file = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    signer = Signer(RFC_8037, Settings().topic_commands)
    company = next(one for one in file["companies"] if any(key.get("key") == KEY for key in one["apiKeys"]))
    company |= {"signingKeys": [{"jwk": dict(signer.jwk.members)}], "signaturesRequiredFrom": NOW.isoformat()}
    passports, value = Passports(parse_catalogue(yaml.safe_dump(file), ".yaml")), _value("a")
    good = signer.headers(value, None, None, NOW.timestamp())
    assert passports.answer(value, good, NOW).outcome == "created"
    for headers, moment, reason in (
        (good, NOW + timedelta(hours=1), "signature-expired"),
        (signer.headers(_value("b"), None, None, NOW.timestamp()), NOW, "signature-mismatch"),
        (_headers(), NOW, "signature-required"),
    ):
        said = passports.answer(value, headers, moment)
        assert (said.outcome, said.body["details"]) == ("unauthorized", {"reason": reason})
    assert passports.answer(_value("c"), _headers(), NOW - timedelta(milliseconds=1)).outcome == "created"


def test_ids_come_from_the_place_and_names_from_the_settings() -> None:
    """By default a place of its own each, in a log of one partition; a dead letter names the group."""
    settings = Settings(topic_commands="in", topic_rejected="no", group_id="g", digital_link_base="https://x.example")
    passports = Passports(parse_catalogue(SAMPLE.read_text(encoding="utf-8"), ".yaml"), settings)
    first, second = (passports.answer(_value(serial), _headers(), NOW) for serial in "ab")
    assert (first.key, second.key) == (b"in:0:0", b"in:0:1")
    assert first.body["gs1"]["digitalLinkUri"].startswith("https://x.example/01/")
    bad = passports.answer(b"{", [], NOW, key=b"k", place=(3, 17))
    assert (bad.topic, bad.key, bad.outcome) == ("no", b"in:3:17", "unreadable")
    assert bad.dead_letter is not None
    assert bad.dead_letter.key == b"k"
    assert ("dlq-consumer-group", b"g") in bad.dead_letter.headers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("companies: [{_id: 1}]", r"companies\[0\]\._id: Expected 24 hexadecimal digits"),
        (
            f"products: [{{_id: '{24 * 'c'}', companyId: '{24 * 'a'}', templateId: '{24 * 'b'}', name: n, model: m}}]",
            r"products\[0\]\.companyId: Expected a company in file or database",
        ),
    ],
)
def test_a_bad_catalogue_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With all that is wrong, by path; there is no database that could have the rest."""
    (tmp_path / "catalogue.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=said):
        Passports(tmp_path / "catalogue.yaml")


def test_a_time_without_a_zone_is_refused() -> None:
    """It would mean another day elsewhere."""
    with pytest.raises(ValueError, match="at: expected a time with a time zone, got 2026-05-09T10:00:00"):
        Passports(SAMPLE).answer(_value("a"), _headers(), NOW.replace(tzinfo=None))


def test_lines_of_the_page_work(tmp_path: Path) -> None:
    """The fixture of `schemas/test.md` and the test below it, run as they stand, beside the sample catalogue."""
    page = (REPOSITORY / "schemas" / "test.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_theirs.py").write_text(block, encoding="utf-8")
    (tmp_path / "catalogue.yaml").write_bytes(SAMPLE.read_bytes())
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PASSPORT_", "PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-q", "test_theirs.py"]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
