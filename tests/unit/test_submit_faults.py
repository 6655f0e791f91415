"""`submit` tells equal faults together, and a dry run finds rows for the same unit."""

from pathlib import Path

from tests.unit.sheets import GTIN, HEAD, PRODUCT, table
from worker.tools.submit.faults import Faults
from worker.tools.submit.submitting import dry_run_of
from worker.tools.submit.table import Fault


def test_equal_faults_are_one_group() -> None:
    """With their count and the first ten rows, whatever stands in the cells."""
    faults = Faults()
    for row in range(1, 31):
        faults.add(row, row + 1, Fault("bad", f"'{row}'", "mend it"))
    faults.add(31, 32, Fault("bad", "'x'"))
    group, other = faults.groups()
    assert (group.text, group.advice, group.rows) == ("bad", "mend it", 30)
    assert [(row.row, row.line, row.got) for row in group.first] == [(n, n + 1, f"'{n}'") for n in range(1, 11)]
    assert other.rows == 1


def test_kinds_of_faults_are_bounded() -> None:
    """Others are counted."""
    faults = Faults()
    for row in range(1, 151):
        faults.add(row, row, Fault(f"fault {row}"))
    assert (len(list(faults.groups())), faults.others) == (100, 50)


def _dry_run(folder: Path, *rows: str, head: str = f"{HEAD},confirmOverage") -> list[tuple[str, list[tuple[int, str]]]]:
    sheet = table(folder, f"{head}\n" + "".join(f"{row}\n" for row in rows))
    report = dry_run_of(folder / "units.csv", sheet)
    assert report.ok is all("equal" in group.advice for group in report.duplicates)
    return [(group.advice, [(row.row, row.got) for row in group.first]) for group in report.duplicates]


def test_a_dry_run_finds_rows_for_the_same_unit(tmp_path: Path) -> None:
    """Equal rows are replayed, so all is well; others will conflict."""
    rows = [f"{PRODUCT},{GTIN},U{number}," for number in (1, 2, 1, 3)] + [f"{PRODUCT},{GTIN},U2,true"]
    assert _dry_run(tmp_path, *rows[:4]) == [
        ("the rows are equal, so this one will be answered replayed", [(3, "those of row 1, line 2")]),
    ]
    assert _dry_run(tmp_path, *rows) == [
        ("the rows are equal, so this one will be answered replayed", [(3, "those of row 1, line 2")]),
        ("the rows differ, so this one will be answered conflict", [(5, "those of row 2, line 3")]),
    ]


def test_bad_rows_and_other_gtins_are_no_duplicates(tmp_path: Path) -> None:
    """A serial number is one of its GTIN."""
    assert _dry_run(tmp_path, f"{PRODUCT},{GTIN},U1,", f"{PRODUCT},04012345000023,U1,") == []
    sheet = table(tmp_path, f"{HEAD}\n{PRODUCT},1,U1\n{PRODUCT},1,U1\n")
    report = dry_run_of(tmp_path / "units.csv", sheet)
    assert (report.rows, report.bad, report.duplicates, report.ok) == (2, 2, (), False)
    assert [(group.text, group.rows) for group in report.faults] == [("column gs1.gtin: GTIN must be 14 digits", 2)]
