"""`tail` shows results that were asked for, in a line that no terminal obeys, or as JSON."""

import json

import pytest

from worker.cli.tail import Filter, json_line, line
from worker.messages.refusals import Kind
from worker.stream.results import ResultRecord

COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
CREATED = ResultRecord(
    Kind.CREATED,
    "created",
    1,
    2,
    1_778_320_800_000,
    b"order-1",
    b'{"_id":"p","gs1":{"digitalLinkUri":"https://id.example/01/1/21/2"}}',
    [
        ("ce_time", b"2026-05-09T10:00:00.000Z"),
        ("ce_subject", b"p"),
        ("ce_companyid", COMPANY.encode()),
        ("ce_causationid", b"commands/1/7"),
    ],
)
REPLAYED = CREATED._replace(headers=[*CREATED.headers, ("idempotency-replayed", b"true")])
EVIL = ResultRecord(
    Kind.REJECTED, "rejected", 0, 0, 0, b"\x1b[2J\x9bkey\x7f\xff", b'{"error":"\\u001b]0;x\xc2\x9b","status":400}', []
)  # fmt: skip
STRANGE = ResultRecord(
    Kind.CONFLICT, "conflict", 0, 0, -5, None, None, [("ce_causationid", None), ("ce_time", b"\xff")]
)


def test_a_line_tells_when_what_whose_and_why() -> None:
    """For people."""
    assert line(CREATED) == (
        f"2026-05-09T10:00:00.000Z  created           201  {COMPANY}  order-1  https://id.example/01/1/21/2"
    )
    assert "replayed" in line(REPLAYED)


def test_json_has_the_body_and_both_places() -> None:
    """One object, on one line."""
    assert json.loads(json_line(CREATED)) == {
        "time": "2026-05-09T10:00:00.000Z",
        "outcome": "created",
        "status": 201,
        "company": COMPANY,
        "key": "order-1",
        "passportId": "p",
        "digitalLinkUri": "https://id.example/01/1/21/2",
        "error": None,
        "command": "commands/1/7",
        "result": "created/1/2",
        "body": {"_id": "p", "gs1": {"digitalLinkUri": "https://id.example/01/1/21/2"}},
    }


@pytest.mark.parametrize("record", [EVIL, STRANGE, CREATED._replace(value=b"\x00\x1b")])
def test_no_terminal_obeys_what_a_stranger_wrote(record: ResultRecord) -> None:
    """Control characters, C1 and bytes that are no UTF-8 become escapes, in both forms; nothing raises."""
    for text in (line(record), json_line(record)):
        assert text.isprintable()
    assert json.loads(json_line(record))["outcome"] in ("created", "conflict", "rejected")
    assert json_line(record).isascii()


@pytest.mark.parametrize(
    ("wanted", "passing"),
    [
        (Filter(), [CREATED, REPLAYED, EVIL, STRANGE]),
        (Filter(company=COMPANY), [CREATED, REPLAYED]),
        (Filter(company="0" * 24), []),
        (Filter(key="order-1"), [CREATED, REPLAYED]),
        (Filter(outcomes=frozenset({"replayed"})), [REPLAYED]),
        (Filter(outcomes=frozenset({"created", "rejected"})), [CREATED, EVIL]),
        (Filter(company=COMPANY, outcomes=frozenset({"created"}), key="order-1"), [CREATED]),
    ],
)
def test_filters_go_together(wanted: Filter, passing: list[ResultRecord]) -> None:
    """All that are set have to fit."""
    assert [one for one in (CREATED, REPLAYED, EVIL, STRANGE) if wanted.lets_pass(one)] == passing
