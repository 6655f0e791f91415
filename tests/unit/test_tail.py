"""`tail` shows results that were asked for, in a line that no terminal obeys, or as JSON."""

import json

import pytest

from worker.messages.rules import Kind
from worker.tools.common.answering import answer_of
from worker.tools.common.results import ResultRecord
from worker.tools.tail.command_line import Filter, json_line, line

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


HOSTILE_BODIES = (
    b"[" * 200_000,
    b'{"a":' * 600 + b"1" + b"}" * 600,
    b'{"a":' * 480 + b"1" + b"}" * 480,
    b'{"error":"E","details":{"fieldErrors":{"a":5,"b":null,"c":["x",7]}}}',
    b'{"details":{"fieldErrors":[5]}}',
    b'{"status":"' + b"9" * 5_000 + b'"}',
    b'{"status":' + b"9" * 5_000 + b"}",
    b'{"status":' + b"9" * 4_000 + b"}",
    '{"status":"٤٠٠"}'.encode(),
    b'{"status":NaN,"error":Infinity}',
    b'{"status":1e999}',
    b'{"status":[[]],"error":{"a":1},"conflict":"serial_number_exists","passportId":"\\ud800\\n"}',
    b'{"error":"\\ud800","gs1":{"digitalLinkUri":"\\ud800\\u0000"}}',
    b'{"gs1":{"digitalLinkUri":7}}',
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("value", HOSTILE_BODIES, ids=range(len(HOSTILE_BODIES)))
def test_whatever_stands_in_a_result_topic_is_shown(kind: Kind, value: bytes) -> None:
    """As one line, and as JSON that any reader takes; what `submit` would keep of it can be written."""
    record = CREATED._replace(kind=kind, value=value)
    assert line(record).isprintable()
    told = json.loads(json_line(record), parse_constant=pytest.fail)
    assert (told["outcome"], told["result"]) == (kind.label, "created/1/2")
    assert "".join(answer_of(record)).isprintable()
    assert "".join(answer_of(record)).encode()


def test_messages_that_are_some_are_told_beside_what_is_none() -> None:
    """Of the fields of a stranger's body."""
    assert "E: c: x; c: 7" in line(CREATED._replace(kind=Kind.REJECTED, value=HOSTILE_BODIES[3]))


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
