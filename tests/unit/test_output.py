"""How verbs print: identifiers stay whole at every width, and piped output has none."""

from io import StringIO

import pytest

from worker.messages.rules import ROWS
from worker.tools.cli.output import STYLES, Page, Table, copyable, status, tally
from worker.tools.common.lane_report import LaneState

COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
LINK = "https://id.tracepass.eu/p/01/04012345000016/21/BP-48V-100-000001-of-a-very-long-serial-number"
FINDING = "Kafka does not answer at broker.example.com:9092, expected an answer within ten seconds"


def printed(*items: object, width: int | None = None) -> list[str]:
    """The lines that a page of this width prints; None is a pipe."""
    page = Page(width)
    page.file = StringIO()
    page.print(*items)
    return str(page.file.getvalue()).splitlines()


def lanes() -> Table:
    """A table with two identifiers of different lengths, a text, and a column that may go."""
    rows = [(0, status("in-step"), COMPANY, "a host", FINDING), (11, status("halted"), LINK, None, "short")]
    names = ("partition", "state", "id", "host", "finding")
    return Table(names, rows, right=("partition",), wraps=("finding",), spare=("host",))


def test_piped_row_is_one_line() -> None:
    """A pipe has no width, lines end without spaces, and numbers stand on the right."""
    heading, first, second = printed(lanes())
    assert heading.split() == ["partition", "state", "id", "host", "finding"]
    assert first.split("  ")[-1] == FINDING
    assert first.startswith("        0  in-step  ")
    assert second.startswith("       11  halted   ")
    assert second.endswith("  -       short")


@pytest.mark.parametrize("width", [20, 40, 80, 100, 120, 160, 200])
def test_identifiers_stay_whole(width: int) -> None:
    """They are neither folded nor cut; the spare column goes where the width is short."""
    lines = printed(lanes(), width=width)
    assert any(COMPANY in line for line in lines)
    assert any(LINK in line for line in lines)
    assert ("host" in lines[0]) is (width >= 200)


def test_texts_wrap_between_words() -> None:
    """A column of texts wraps where the width is short, and keeps its place."""
    lines = printed(Table(("id", "finding"), [(COMPANY, FINDING)], wraps=("finding",)), width=80)
    assert [line[:26].strip() for line in lines] == ["id", COMPANY, ""]
    assert max(map(len, lines)) <= 80
    assert " ".join(line[26:] for line in lines[1:]) == FINDING
    assert printed(FINDING, width=50) == [FINDING[:49], FINDING[50:]]


def test_word_longer_than_the_width_stays_whole() -> None:
    """Only terminals break it, and they let it be copied."""
    assert printed(f"See {LINK}.", width=40) == ["See", f"{LINK}."]


def test_json_can_be_copied() -> None:
    """No line of a text that is copied is wrapped, whatever the width."""
    text = '{\n  "text": "' + "word " * 50 + '"\n}'
    assert printed(copyable(text), width=40) == text.splitlines()


def test_table_without_rows_prints_nothing() -> None:
    """A server that is away leaves no empty table before its problem."""
    assert printed(Table(("a", "b"), []), width=80) == []


def test_brackets_and_control_characters() -> None:
    """Brackets are no markup, and a terminal obeys nothing that a record says."""
    assert printed(Table(("a",), [("[red]x[/red]\x1b[31m",)])) == ["a", "[red]x[/red]\\x1b[31m"]


def test_words_beside_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each state and outcome has a colour, which NO_COLOR takes away."""
    assert STYLES.keys() >= {row.code for row in ROWS.values()}
    assert STYLES.keys() >= set(LaneState.__args__)  # type: ignore[attr-defined]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert printed(tally({"ok": 23, "warning": 1, "failed": 0})) == [
        "\x1b[32m23 ok\x1b[0m, \x1b[33m1 warning\x1b[0m, \x1b[2m0 failed\x1b[0m"
    ]
    assert printed(tally({"warning": 2})) == ["\x1b[33m2 warnings\x1b[0m"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(status("halted")) == ["\x1b[1mhalted\x1b[0m"]
