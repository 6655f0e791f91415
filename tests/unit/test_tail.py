"""`tail` shows results that were asked for, in a line that no terminal obeys, or as JSON."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from urllib.parse import quote

import pytest
from aiokafka.structs import TopicPartition

from tests.workbench import settings_of
from worker.messages.envelope import Record
from worker.messages.rules import Kind
from worker.tools.common.answering import row_answer_of
from worker.tools.common.results import ResultRecord
from worker.tools.tail import names as names_module
from worker.tools.tail.command_line import Filter
from worker.tools.tail.line import Lines, json_line
from worker.tools.tail.names import CompanyNames
from worker.tools.tail.past import PastResults, shown_ms

COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
LINK = "https://id.example/01/04012345000016/21/BP%2F1"
CREATED = ResultRecord(
    Kind.CREATED,
    "created",
    1,
    2,
    1_778_320_800_000,
    b"order-1",
    b'{"_id":"p","gs1":{"digitalLinkUri":"https://id.example/01/04012345000016/21/BP%2F1"}}',
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


NAMES = {COMPANY: "EuroBat GmbH und Freunde"}
REFUSED = ResultRecord(
    Kind.REJECTED,
    "rejected",
    0,
    9,
    1_778_320_800_000,
    b"order-2",
    b'{"error":"subscription_inactive","details":{"status":"past_due"},"status":402,'
    b'"request":{"productId":"x","gs1":{"gtin":"04012345000016","serialNumber":"BP-1"}}}',
    CREATED.headers,
)


def line(record: ResultRecord, width: int | None = None) -> str:
    """The line of a result, without the line of its day."""
    return Lines(width, NAMES).of(record).plain.splitlines()[-1]


def test_piped_line_has_everything() -> None:
    """Nothing is cut, and company and unit stand in full."""
    assert line(CREATED) == (
        f"2026-05-09T10:00:00.000Z  created           201  {COMPANY}  EuroBat GmbH und Freunde  order-1  "
        "04012345000016  BP/1  -"
    )
    assert line(REFUSED).endswith("  order-2  04012345000016  BP-1  subscription_inactive: past_due")
    assert "replayed" in line(REPLAYED)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_line_fits_the_terminal(width: int) -> None:
    """With the name of the company and the unit; columns stand below their headings."""
    lines = Lines(width, NAMES)
    heading = lines.heading().plain
    for record in (CREATED, REPLAYED, REFUSED, EVIL):
        text = line(record, width)
        assert len(text) <= width
        assert text.isprintable()
    assert lines.of(REFUSED).plain.splitlines()[0] == "2026-05-09 (UTC)"
    again = lines.of(REFUSED).plain
    assert again.startswith("10:00:00  "), "the day stands once"
    assert again[heading.index("company") :].startswith("EuroBat")
    assert again[heading.index("GTIN") :].startswith("04012345000016 BP-1")
    assert ("subscription-inactive" in again) is (width not in (100,))


def test_a_uuid_as_key_fits_80_columns() -> None:
    """A refusal before rule 7 names no unit; the company's name gives way."""
    key = "934f3bbf-6371-4372-8c4c-2d01532eb692"
    text = line(CREATED._replace(kind=Kind.REJECTED, key=key.encode(), value=b'{"error":"Unauthorized"}'), 80)
    assert len(text.splitlines()[-1]) == 80
    assert text.endswith(f"  EuroBat …  {key}")


def test_identifiers_stay_whole_at_every_width() -> None:
    """A long key goes beyond the width, and the reason gives way."""
    long = CREATED._replace(kind=Kind.REJECTED, key=b"k" * 90, value=b'{"error":"Unauthorized","status":401}')
    assert "k" * 90 in line(long, 80)
    assert line(long, 100).endswith("k" * 90)
    assert COMPANY in Lines(100, {}).of(CREATED).plain, "an id where the name is not known"


def test_json_has_the_body_and_both_places() -> None:
    """One object, on one line."""
    assert json.loads(json_line(CREATED, NAMES)) == {
        "time": "2026-05-09T10:00:00.000Z",
        "outcome": "created",
        "code": "created",
        "status": 201,
        "company": COMPANY,
        "companyName": "EuroBat GmbH und Freunde",
        "key": "order-1",
        "gtin": "04012345000016",
        "serialNumber": "BP/1",
        "passportId": "p",
        "digitalLinkUri": LINK,
        "error": None,
        "command": "commands/1/7",
        "result": "created/1/2",
        "body": {"_id": "p", "gs1": {"digitalLinkUri": LINK}},
    }


@pytest.mark.parametrize("record", [EVIL, STRANGE, CREATED._replace(value=b"\x00\x1b")])
def test_no_terminal_obeys_what_a_stranger_wrote(record: ResultRecord) -> None:
    """Control characters, C1 and bytes that are no UTF-8 become escapes, in both forms; nothing raises."""
    for text in (line(record), line(record, 80), line(record, 120), json_line(record, NAMES)):
        assert text.isprintable()
    assert json.loads(json_line(record, {}))["outcome"] in ("created", "conflict", "rejected")
    assert json_line(record, {}).isascii()


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
    told = json.loads(json_line(record, {}), parse_constant=pytest.fail)
    assert (told["outcome"], told["result"]) == (kind.label, "created/1/2")
    assert "".join(row_answer_of(record)).isprintable()
    assert "".join(row_answer_of(record)).encode()


@pytest.mark.parametrize("serial", ["A\u00a0B", "A\u200bB"])
def test_a_serial_number_is_told_as_it_is(serial: str) -> None:
    """Escapes are for people: their text may be another serial number. Seen to fail in filter and JSON."""
    body = {"request": {"gs1": {"gtin": "04012345000016", "serialNumber": serial}}}
    refused = REFUSED._replace(value=json.dumps(body).encode())
    gs1 = {"digitalLinkUri": LINK.replace("BP%2F1", quote(serial))}
    linked = CREATED._replace(value=json.dumps({"_id": "p", "gs1": gs1}).encode())
    for record in (refused, linked):
        assert Filter(serial=serial).lets_pass(record)
        assert json.loads(json_line(record, {}))["serialNumber"] == serial
        assert line(record).isprintable()


@pytest.mark.parametrize("time", ["2026-99-99T99:99:99.999Z", "٢٠٢٦-05-09T10:00:00.000Z"])
def test_a_time_that_is_none_ends_nothing(time: str) -> None:
    """Anybody may have written the result: its own time counts then. Seen to fail: `tail` ended, each time."""
    record = CREATED._replace(headers=[("ce_time", time.encode())])
    assert shown_ms(record) == CREATED.timestamp_ms
    assert line(record).startswith("2026-05-09T10:00:00.000Z")


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
        (Filter(gtin="04012345000016"), [CREATED, REPLAYED]),
        (Filter(serial="BP/1"), [CREATED, REPLAYED]),
        (Filter(gtin="04012345000016", serial="BP-1"), []),
        (Filter(company=COMPANY, outcomes=frozenset({"created"}), key="order-1"), [CREATED]),
    ],
)
def test_filters_go_together(wanted: Filter, passing: list[ResultRecord]) -> None:
    """All that are set have to fit."""
    assert [one for one in (CREATED, REPLAYED, EVIL, STRANGE) if wanted.lets_pass(one)] == passing


class Logs:
    """A reader of made-up logs: results by topic and partition."""

    def __init__(self, logs: dict[tuple[str, int], list[ResultRecord]]) -> None:
        """Offsets are places in the lists."""
        self._logs = logs

    async def read(self, topic: str, partition: int, start: int, stop: int, **_: int) -> AsyncIterator[list[Record]]:
        """See `LogReader.read`."""
        for record in self._logs[topic, partition][start:stop]:
            yield [Record(*record[1:])]


def past_results(logs: dict[tuple[str, int], list[ResultRecord]]) -> PastResults:
    """The results in these logs, whole."""
    past = PastResults(settings_of({}), None)  # type: ignore[arg-type]  # no cluster is asked
    past._reader = Logs(logs)  # type: ignore[assignment]
    past._parts = {TopicPartition(*log): range(len(records)) for log, records in logs.items()}
    return past


def at(second: int, topic: str = "dpp.passport.created.v1") -> ResultRecord:
    """A result of a command of this second."""
    return ResultRecord(Kind.CREATED, topic, 0, second, second * 1000, b"%d" % second, b"{}", [])


async def test_past_results_come_in_order_of_time() -> None:
    """From a busy log and quiet ones; the order within a log stays."""
    busy, quiet = [at(second) for second in range(10, 90)], [at(second) for second in (1, 50, 99)]
    past = past_results({("dpp.passport.created.v1", 0): busy, ("dpp.passport.created.v1", 1): quiet})
    chunks = [chunk async for chunk in past.all(40)]
    assert [len(chunk) for chunk in chunks] == [40, 40, 3]
    times = [shown_ms(record) for chunk in chunks for record in chunk]
    assert times == sorted(times)
    assert len(times) == 83


@pytest.mark.parametrize("count", [1, 5, 40, 1000])
async def test_newest_results(count: int) -> None:
    """As many of all logs together, although one of them is busy; of those that fit."""
    busy, quiet = [at(second) for second in range(1000, 2000)], [at(second) for second in range(0, 5000, 100)]
    past = past_results({("dpp.passport.created.v1", 0): busy, ("dpp.passport.created.v1", 1): quiet})
    newest, is_whole = await past.newest(count, lambda record: record.offset % 2 == 0)
    wanted = sorted(record.offset for record in busy + quiet if record.offset % 2 == 0)
    assert [record.offset for record in newest] == wanted[-count:]
    assert is_whole


async def test_a_company_that_has_another_name_now_is_shown_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A while later. Seen to fail before: a `tail` that ran for weeks showed the first name that it had met."""
    said, clock = ["EuroBat", "EuroBat GmbH", "EuroBat SE"], time.monotonic

    async def names_of(_: object, ids: set[str]) -> dict[str, str]:
        name = said.pop(0)
        return dict.fromkeys(ids, name)

    monkeypatch.setattr(names_module, "connected_to", lambda _: nullcontext())
    monkeypatch.setattr(names_module, "names_of", names_of)
    names = CompanyNames(settings_of({"PASSPORT_DATABASE_URL": "postgresql://127.0.0.1:1/none"}))
    seen = []
    for minutes in (0, 1, 20, 21):
        monkeypatch.setattr(time, "monotonic", lambda minutes=minutes: clock() + minutes * 60)
        await names.learn([COMPANY])
        seen.append(names.by_id[COMPANY])
    assert seen == ["EuroBat", "EuroBat", "EuroBat GmbH", "EuroBat GmbH"]
