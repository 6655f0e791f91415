"""`submit` reads sheets in the encodings of spreadsheets, and names the likely one where UTF-8 fails."""

from pathlib import Path

import pytest

from tests.unit.sheets import GTIN, HEAD, PRODUCT, problems, rows_of, table
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.columns import Choices
from worker.tools.submit.encodings import encoding_of, guessed_encoding, likely_encoding
from worker.tools.submit.table import BadFile

NAMES = "Größe Übermut Süß"
SHEET = f"{HEAD},parties.importer.legalName\r\n{PRODUCT},{GTIN},U1,{NAMES}\r\n"


@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "mac_roman", "iso8859-15"])
def test_a_sheet_is_read_in_its_encoding_and_answered_in_utf8(tmp_path: Path, encoding: str) -> None:
    """So that the answers open everywhere, and are an input under the same options."""
    sheet = table(tmp_path, SHEET.replace(",", ";").encode(encoding), Choices(encoding=encoding))
    (row,) = sheet.rows()
    assert row.kept.decode("utf-8").endswith(NAMES)
    answers = sheet.head + sheet.line(row, RowAnswer("rejected", "401", key="k"))
    again = table(tmp_path, answers, Choices(encoding=encoding), ["rejected"], name="units.csv.answers.csv")
    assert [row.kept for row in again.rows()] == [row.kept]


@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "mac_roman"])
def test_the_likely_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    """In a row, in the header line, and for a mapping file."""
    data = SHEET.encode(encoding)
    (row,) = rows_of(tmp_path, data)
    assert problems(row)[0].startswith(
        f"column parties.importer.legalName: expected UTF-8, got '{NAMES}' (use --encoding {encoding},"
    )
    with pytest.raises(BadFile, match=f"line 1: expected UTF-8 .use --encoding {encoding}"):
        table(tmp_path, "Größe,gs1.gtin\n".encode(encoding))
    assert likely_encoding(data) == guessed_encoding(data) == encoding


def test_utf8_is_not_read_as_anything_else(tmp_path: Path) -> None:
    """A company would get a name such as GrÃ¶ÃŸe for good."""
    (row,) = rows_of(tmp_path, SHEET, Choices(encoding="cp1252"))
    assert problems(row) == ("expected cp1252, got UTF-8 (leave out --encoding)",)
    assert guessed_encoding(SHEET.encode()[: SHEET.encode().index(b"\xc3") + 1]) == "utf-8"


def test_bytes_that_the_encoding_lacks_are_told(tmp_path: Path) -> None:
    """By column; the answers file shows something in their place."""
    sheet = table(tmp_path, SHEET.encode("cp850"), Choices(encoding="cp1252"))
    (row,) = sheet.rows()
    assert problems(row) == ("column parties.importer.legalName: expected cp1252",)
    assert "\ufffd" in sheet.line(row, row.invalid()).decode("utf-8")


@pytest.mark.parametrize("name", ["UTF8", "utf-8-sig", "utf_8"])
def test_utf8_has_many_names(name: str) -> None:
    """All of them mean the same."""
    assert encoding_of(name) == "utf-8"


@pytest.mark.parametrize("name", ["utf-16", "utf-7", "ebcdic", "cp037", "rot13", "hex", "", "cp1252\0"])
def test_an_encoding_whose_lines_do_not_end_as_in_ascii_is_refused(name: str) -> None:
    """So is one that nobody knows."""
    with pytest.raises(BadFile, match="--encoding: expected utf-8, cp1252 or another"):
        encoding_of(name)
