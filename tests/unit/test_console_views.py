"""What the console's pages are drawn from, without servers: the verdict, the chart, the rules, the filters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.lane_reports import lane_report
from worker.messages.rules import ALL_RULES
from worker.tools.common.lane_report import LaneReport, LanesReport, LaneState
from worker.tools.common.report import Problem
from worker.tools.console import rendering
from worker.tools.console.cached import LastReport
from worker.tools.console.chart import BASE, TOP, chart, nice_top
from worker.tools.console.door import Reader
from worker.tools.console.report import MinuteActivity
from worker.tools.console.verdict import verdicts
from worker.tools.explain.report import ExplainReport, OutcomeReport, RuleReport

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def _lane(
    partition: int, state: LaneState = "in-step", *, lag_seconds: float = 0.0, advice: str | None = None
) -> LaneReport:
    member = None if state in ("unowned", "never-run") else "m"
    return lane_report(partition, lag_seconds=lag_seconds, member=member, host=None, state=state, advice=advice)


def _not_opened(lag_seconds: float) -> LaneReport:
    """The group has given the lane to a worker, which cannot open it."""
    return lane_report(1, state="never-run", lag_records=3, lag_seconds=lag_seconds)


def _known(*lanes: LaneReport, problems: tuple[Problem, ...] = ()) -> LastReport[LanesReport]:
    report = LanesReport(problems=problems, group="g", lanes=lanes)
    return LastReport(report, 0.0, report, problems)


@pytest.mark.parametrize(
    ("known", "level", "title"),
    [
        (LastReport(), "unknown", "Asking Kafka and Postgres"),
        (_known(_lane(0), _lane(1, "behind", lag_seconds=3)), "ok", "All 2 lanes are moving"),
        (_known(_lane(0)), "ok", "The lane is moving"),
        (_known(_lane(0), _lane(1, "halted", advice="E > A")), "bad", "1 of 2 lanes is halted"),
        (_known(*(_lane(n, "unowned", advice="start") for n in range(2))), "bad", "2 of 2 lanes are without a worker"),
        (_known(_lane(0), _lane(1, "behind", lag_seconds=61)), "warning", "1 of 2 lanes is late"),
        (_known(_lane(0, "never-run"), _lane(1, "unowned")), "warning", "No worker is running"),
        (_known(_lane(0), _not_opened(61.0)), "warning", "1 of 2 lanes is late"),
        (_known(_lane(0, "unknown")), "unknown", "The state of the lanes is not known"),
        (_known(), "unknown", "No lanes"),
        (LastReport(problems=(Problem(code="kafka-away", text="x"),)), "bad", "Kafka is away"),
        (_known(_lane(0), problems=(Problem(code="kafka-away", text="x"),)), "bad", "Kafka is away"),
        (LastReport(problems=(Problem(code="topics-missing", text="x"),)), "bad", "Kafka lacks a topic"),
        (
            _known(_lane(0), problems=(Problem(code="postgres-rights", text="x"),)),
            "bad",
            "The console lacks a right in Postgres",
        ),
    ],
)
def test_each_state_has_a_verdict(known: LastReport[LanesReport], level: str, title: str) -> None:
    """The worst comes first."""
    first = verdicts(known, "1 s")[0]
    assert (first.level, first.title) == (level, title)


def test_commands_of_a_lane_that_was_never_opened_are_unanswered() -> None:
    """Seen to fail before: "All commands are answered", for as long as a worker could not open its first lane."""
    (only,) = verdicts(_known(_lane(0), _not_opened(3.0)), "1 s")
    assert (only.level, only.text) == ("ok", "1 of them has unanswered commands.")


@pytest.mark.parametrize(
    ("behind", "of", "text"),
    [
        (0, 1, "All commands are answered."),
        (1, 1, "It has unanswered commands."),
        (1, 3, "1 of them has unanswered commands."),
        (2, 3, "2 of them have unanswered commands."),
    ],
)
def test_lanes_that_move_are_counted_in_words(behind: int, of: int, text: str) -> None:
    """Seen to fail before: "1 of them have"."""
    lanes = (_lane(number, "behind" if number < behind else "in-step", lag_seconds=1.0) for number in range(of))
    (only,) = verdicts(_known(*lanes), "1 s")
    assert (only.level, only.text) == ("ok", text)


def test_what_is_wrong_is_told_from_the_worst_on() -> None:
    """A halted lane before a late one, whatever else is wrong."""
    lanes = (_lane(0, "behind", lag_seconds=100), _lane(1, "halted", advice="E > A"), _lane(2, "unowned", advice="x"))
    found = verdicts(_known(*lanes), "1 s")
    assert [one.level for one in found] == ["bad", "bad", "warning"]
    assert [lane.partition for one in found for lane in one.lanes] == [1, 2, 0]


def test_an_old_look_is_no_good_verdict() -> None:
    """Its age comes first, in grey. What was wrong stays, since it may be wrong still."""
    (first,) = verdicts(replace(_known(_lane(0), _lane(1)), is_old=True), "70 s")
    assert (first.level, first.title) == ("unknown", "As of 70 s ago, checking")
    assert first.text == "Nothing was wrong at the last look."
    found = verdicts(replace(_known(_lane(0, "halted", advice="E > A")), is_old=True), "70 s")
    assert [(verdict.level, verdict.title) for verdict in found] == [
        ("unknown", "As of 70 s ago, checking"),
        ("bad", "1 of 1 lanes is halted"),
    ]
    (first,) = verdicts(LastReport(is_old=True), "70 s")
    assert first.title == "Asking Kafka and Postgres"


def _minutes(*created: int) -> list[MinuteActivity]:
    return [
        MinuteActivity(
            minute=NOON + timedelta(minutes=at), created=count, replayed=0, overage_required=0, conflict=0, rejected=1
        )
        for at, count in enumerate(created)
    ]


def test_bars_stand_on_the_base_and_fit_below_the_top() -> None:
    """Pieces of a bar meet; one refusal among many is at least a pixel high."""
    drawn = chart(_minutes(0, 999, 500))
    for bar in drawn.bars:
        assert round(bar.pieces[0].y + bar.pieces[0].height, 2) == BASE
        assert bar.pieces[-1].y >= TOP - 1
        for lower, upper in zip(bar.pieces, bar.pieces[1:], strict=False):
            assert round(upper.y + upper.height, 2) == lower.y
        assert all(piece.height >= 1 for piece in bar.pieces)
    assert drawn.totals == {"created": 1499, "replayed": 0, "overage_required": 0, "conflict": 0, "rejected": 3}
    assert [value for _, value in drawn.lines] == [0, 500, 1000]
    assert [bar.total for bar in drawn.bars] == [1, 1000, 501]


def test_an_hour_without_answers_has_a_scale_and_no_bars() -> None:
    """And an hour of nothing at all is no error."""
    assert chart([]).bars == ()
    assert [value for _, value in chart([]).lines] == [0, 1, 2]


@pytest.mark.parametrize(("largest", "top"), [(0, 2), (2, 2), (3, 4), (5, 10), (11, 20), (401, 1000), (10**9, 10**9)])
def test_scales_end_at_a_round_number(largest: int, top: int) -> None:
    """Not smaller than the largest."""
    assert nice_top(largest) == top


def _report(code: str, rule: int | None) -> ExplainReport:
    outcome = OutcomeReport(
        code=code,
        status=None,
        rule=None if rule is None else RuleReport(number=rule, name=""),
        why="",
        event="rejected",
        company_id=None,
        company_name=None,
        passport_id=None,
        key="k",
        body={},
        source="ledger",
        emitted=True,
        result=None,
    )
    return ExplainReport(
        asked="",
        place=None,
        state="answered",
        notes=(),
        command=None,
        lane=None,
        outcome=outcome,
        dead_letter=None,
        binding=None,
        charge=None,
        trace_id=None,
        others=(),
    )


@pytest.mark.parametrize(
    ("code", "rule", "passed", "last"),
    [
        ("created", 13, 12, '<li class="ok">create the passport</li>'),
        ("replayed", 5, 4, '<li class="ok">the idempotency key is not bound yet: it is, and to the same body</li>'),
        ("invalid", 6, 5, '<li class="refused">the body is valid: failed</li>'),
        ("unknown", None, 0, ""),
    ],
)
def test_rules_are_told_up_to_the_one_that_answered(code: str, rule: int | None, passed: int, last: str) -> None:
    """All thirteen of a passport that was created, five of a repetition, and none of an answer that is not known."""
    assert [one.number for one in ALL_RULES] == list(range(1, 14))
    values = {"asked": "0/1", "group": "g", "report": _report(code, rule), "rules": ALL_RULES, "now": 0.0, "codes": ()}
    values["reader"] = Reader()
    page = rendering.environment().get_template("explain.html").render(values)
    assert page.count('<li class="passed">') == passed
    assert last in page
    assert ("Later rules were not checked." in page) is (rule in (5, 6))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (70, "70 s"),
        (121, "2 min"),
        (7300, "2 h"),
        (1e6, "12 d"),
    ],
)
def test_ages_have_the_unit_that_fits(seconds: float | None, told: str) -> None:
    """One unit, no arithmetic for whoever is on call."""
    assert rendering.age(seconds) == told


def test_texts_from_outside_hide_and_turn_nothing() -> None:
    """Marks that turn the direction, controls, and API keys; a body keeps its lines."""
    assert rendering.shown("a\u202eb\x00c tp_secret_1") == "a\\u202eb\\x00c tp_…"
    assert rendering.shown(None) == "-"
    assert rendering.pretty({"a": "\u2066<b>"}) == '{\n  "a": "\\u2066<b>"\n}'
    said = rendering.prose("<b> `run <i>` and ` and tp_secret_1")
    assert said == "&lt;b&gt; <code>run &lt;i&gt;</code> and ` and tp_…"
    assert rendering.percent(0.999) == "99 %"


def test_a_share_has_its_percent() -> None:
    """As people count it. Seen to fail before: 29, 57 and 58 of 100 were a percent less."""
    assert [rendering.percent(used / 100) for used in range(131)] == [f"{used} %" for used in range(131)]
    assert rendering.percent((2**31 - 2) / (2**31 - 1)) == "99 %"
