"""The tutorial's test cards provoke the outcomes that it names, in the order in which it has a reader play them."""

import json
import re
from datetime import UTC, datetime

from tests.workbench import REPOSITORY
from worker.testing import Passports

PAGE = (REPOSITORY / "schemas" / "first-passport.md").read_text(encoding="utf-8")
CARD = re.compile(r"^\| `([\w-]+)`.*? \| (\d+) \| `(\S+)` \| `(\w+)` \| `(\d+)` \| (.+) \|$", re.MULTILINE)
NOW = datetime(2026, 5, 9, 10, tzinfo=UTC)


def _serial_numbers(cell: str) -> list[str]:
    """`E-1`, `E-1` again, or `V-1` to `V-7`."""
    first, *last = re.findall(r"`(\S+)`", cell)
    prefix, start = first.split("-")
    end = last[0].removeprefix(f"{prefix}-") if last else start
    return [f"{prefix}-{number}" for number in range(int(start), int(end) + 1)]


def test_each_card_provokes_its_outcome() -> None:
    """All commands of a row but the last create passports; the last one gets outcome and status of the row."""
    passports = Passports(REPOSITORY / "deploy" / "catalogue.example.yaml")
    cards = CARD.findall(PAGE)
    assert len(cards) == len(re.findall(r"^\| `[\w-]+`", PAGE, re.MULTILINE)) == 11
    for outcome, status, api_key, product_id, gtin, serials in cards:
        headers = [("authorization", f"Bearer {api_key}".encode())]
        answers = [
            passports.answer(
                json.dumps({"productId": product_id, "gs1": {"gtin": gtin, "serialNumber": serial}}).encode(),
                headers,
                NOW,
            )
            for serial in _serial_numbers(serials)
        ]
        assert {answer.outcome for answer in answers[:-1]} <= {"created"}, outcome
        assert answers[-1].outcome == outcome
        expected = "draft" if outcome == "created" else int(status)
        assert answers[-1].body["status"] == expected, "the status of a created body is the passport's"


def test_the_shell_loop_of_the_page_plays_a_card() -> None:
    """Key, product and GTIN are those of the row."""
    loop = re.findall(r"^for n in \$\(seq (\d+)\); do\n.*first\.py (\S+) (\S+) (\S+) (\w)-\$n$", PAGE, re.MULTILINE)
    ((count, *card, prefix),) = loop
    assert any(list(row[2:5]) == card and row[5] == f"`{prefix}-1` to `{prefix}-{count}`" for row in CARD.findall(PAGE))
