"""The pages for producers say what `submit` and `tail` do: sheet, options, columns and outcomes."""

import re
from pathlib import Path

import pytest

from tests.unit.sheets import GTIN, bodies, table
from tests.workbench import REPOSITORY, run_command
from worker.messages.rules import OUTCOMES as TAIL_OUTCOMES
from worker.tools.common.answering import NAMES
from worker.tools.submit.fields import PATHS
from worker.tools.submit.options import ColumnOptions
from worker.tools.submit.table import OUTCOMES

SUBMIT = (REPOSITORY / "schemas" / "submit.md").read_text(encoding="utf-8")
RESULTS = (REPOSITORY / "schemas" / "read-results.md").read_text(encoding="utf-8")
TAIL = RESULTS.partition("\n## Watch results on a terminal\n")[2].partition("\n## ")[0]


def test_the_sheet_on_the_page_is_good(tmp_path: Path) -> None:
    """Each of its rows."""
    sheet = re.findall(r"```csv\n(.*?)```", SUBMIT, re.DOTALL)[0]
    assert None not in bodies(list(table(tmp_path, sheet).rows()))


def test_the_mapping_on_the_page_can_be_used(tmp_path: Path) -> None:
    """With a sheet that it fits."""
    path = tmp_path / "map.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", SUBMIT, re.DOTALL)[0], encoding="utf-8")
    sheet = f"EAN;Seriennummer;Bemerkung\n{GTIN[1:]};U1;Größe\n".encode("cp1252")
    assert None not in bodies(list(table(tmp_path, sheet, ColumnOptions(map_file=path).choices()).rows()))


@pytest.mark.parametrize(("verb", "section"), [("submit", SUBMIT), ("tail", TAIL)])
def test_options_are_those_of_the_command_line(verb: str, section: str) -> None:
    """All that the page names, and all that there are, those with a default that nobody needs to know aside."""
    named = set(re.findall(r"--[a-z][a-z-]+", section))
    there = set(re.findall(r"--[a-z][a-z-]+", run_command(verb, "--help").stdout)) - {"--help", "--version"}
    assert named == there


def test_names_are_those_of_the_code() -> None:
    """Outcomes, columns and fields."""
    assert all(f"`{one}`" in SUBMIT for one in OUTCOMES)
    assert all(f"`.{one}`" in SUBMIT or f"`answer.{one}`" in SUBMIT for one in NAMES)
    assert all(f"`{one}`" in SUBMIT for one in PATHS if not one.startswith("parties."))
    assert set(TAIL_OUTCOMES) < set(OUTCOMES)
