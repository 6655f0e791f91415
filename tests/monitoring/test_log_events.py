"""The page of log events has each line that the code can write, with its fields and a meaning."""

import re
from pathlib import Path

import pytest

from tests.monitoring.log_events import MEANINGS, ROOT, LogEvent, NotLiteral, events


def test_each_event_has_a_meaning() -> None:
    """A new event fails here until `MEANINGS` has it, and so does one that is gone."""
    assert events().keys() == MEANINGS.keys()
    assert list(MEANINGS) == sorted(MEANINGS)
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


def test_each_logger_is_found_by_its_name() -> None:
    """A logger of another name than `log` would write lines that the page lacks."""
    loggers = []
    for path in ROOT.rglob("*.py"):
        loggers += re.findall(
            r"(\S+)(?:: \S+)? = (?:structlog\.get_logger|log\.bind)\(", path.read_text(encoding="utf-8")
        )
        assert "import logging" not in path.read_text(encoding="utf-8") or path.name == "logs.py", path
    assert len(loggers) > 10
    assert set(loggers) == {"log", "self.log"}


def test_events_are_read_from_the_code(tmp_path: Path) -> None:
    """Of all modules, with the fields of each call and of the lane that is bound, and with both levels of a choice."""
    (tmp_path / "a.py").write_text('log.info("one", a=1)\nlane.lane.log.error("two", b=2)\n')
    (tmp_path / "b.py").write_text(
        '(log.warning if x else log.info)("one", c=1)\nlog.exception("three")\nmath.log(2)\n'
    )
    assert events(tmp_path) == {
        "one": LogEvent("one", frozenset({"info", "warning"}), ("a", "c")),
        "three": LogEvent("three", frozenset({"error"}), ("exception",)),
        "two": LogEvent("two", frozenset({"error"}), ("topic", "partition", "b")),
    }


@pytest.mark.parametrize(
    "code", ["log.info(name)", 'log.info("x", **fields)', "log.info()", "say = log.info", 'f(log.warning, "x")']
)
def test_what_only_shows_when_it_runs_is_refused(code: str, tmp_path: Path) -> None:
    """The page could not have it."""
    (tmp_path / "a.py").write_text(code)
    with pytest.raises(NotLiteral, match=r"a\.py, line 1: expected"):
        events(tmp_path)
