"""`submit` reads spreadsheets as people save them; what is wrong is told by row, line, column and expectation."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.sheets import BODY, GTIN, HEAD, PRODUCT, bodies, problems, rows_of, table
from worker.messages.body import MOST_FIELD_ERRORS
from worker.tools.common.answering import RowAnswer
from worker.tools.submit.columns import Choices
from worker.tools.submit.fields import PATHS
from worker.tools.submit.table import BadFile, Row

_ROUNDED = "a spreadsheet has rounded this number, and digits are lost"
_AS_NUMBER = "format the column as a number without decimals, and save the sheet as CSV again"
_AS_TEXT = (
    "a spreadsheet keeps 15 digits of a number: take the column from its source again, as text, and save the sheet as "
    "CSV again"
)


def _told(rows: Sequence[Row]) -> list[tuple[int, int, str]]:
    return [(row.number, row.line, problem) for row in rows for problem in problems(row)]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEAD}\n{PRODUCT},{GTIN},U1\n",
        f"{HEAD}\r\n{PRODUCT},{GTIN},U1",
        f"\ufeff{HEAD};\r\n{PRODUCT};{GTIN};U1;\r\n".replace(",", ";").replace("Number;", "Number;confirmOverage"),
        f'\ufeff"productId";"gs1.gtin";"gs1.serialNumber"\r\n"{PRODUCT}";"{GTIN}";"U1"\r\n',
        f"{HEAD}\n{PRODUCT},{GTIN},U1\n".replace(",", "\t"),
        f"sep=;\r\n{HEAD}\r\n{PRODUCT},{GTIN},U1\r\n".replace(",", ";"),
        f'\ufeff"SEP=|"\n{HEAD}\n{PRODUCT},{GTIN},U1\n'.replace(",", "|"),
        f"{HEAD},,\n{PRODUCT},{GTIN},U1,,\n",
        f"\n\n{HEAD}\n".lstrip() + f"\n{PRODUCT},{GTIN},U1\n\n\n",
        f"{HEAD}\r\n,,\r\n{PRODUCT},{GTIN},U1\r\n,,\r\n,\r\n,,,\r\n",
    ],
    ids=[
        "unix",
        "no end",
        "german excel",
        "all quoted",
        "tabs",
        "sep line",
        "quoted sep line",
        "columns without a name",
        "blank lines",
        "rows that excel leaves behind",
    ],
)
def test_a_spreadsheet_is_read_as_it_was_saved(tmp_path: Path, content: str) -> None:
    """Whatever stands between cells, around them, before the first and behind the last."""
    assert bodies(rows_of(tmp_path, content)) == [BODY]


def test_the_value_is_the_body(tmp_path: Path) -> None:
    """Cells keep their case, and names their white space. No number is made of them, and empty ones are not sent."""
    head = f"{HEAD};parties.importer.legalName;parties.importer.gln;confirmOverage".replace(",", ";")
    (row,) = rows_of(tmp_path, f'{head}\n{PRODUCT};{GTIN};007;"Größe ""x"";\nzwei";;WAHR\n')
    assert problems(row) == ("parties.importer: Expected gln or legacyOperatorId",) or row.command is None
    (row,) = rows_of(tmp_path, f'{head}\n{PRODUCT};{GTIN};007;" Größe ""x""; zwei ";4012345000009;WAHR\n')
    assert row.command is not None
    assert json.loads(row.command.value) == {
        "productId": PRODUCT,
        "gs1": {"gtin": GTIN, "serialNumber": "007"},
        "parties": {"importer": {"legalName": ' Größe "x"; zwei ', "gln": "4012345000009"}},
        "confirmOverage": True,
    }


@pytest.mark.parametrize(
    ("cell", "value"), [("true", True), ("WAHR", True), ("FALSE", False), ("falsch", False), ("1", "1"), ("ja", "ja")]
)
def test_a_boolean_is_read_as_excel_writes_it_and_never_guessed(tmp_path: Path, cell: str, value: object) -> None:
    """What is none is for the rules to refuse."""
    (row,) = rows_of(tmp_path, f"{HEAD},confirmOverage\n{PRODUCT},{GTIN},U1,{cell}\n")
    if isinstance(value, bool):
        assert bodies([row]) == [{**BODY, "confirmOverage": value}]
    else:
        assert problems(row) == (f"column confirmOverage: Expected true or false, got '{cell}'",)


def test_columns_are_mapped_set_ignored_and_padded(tmp_path: Path) -> None:
    """Other names, values that all rows have, columns that are no fields, zeros that a spreadsheet ate."""
    choices = Choices(
        {"EAN = 14": "gs1.gtin", "SN": "gs1.serialNumber"}, {"productId": PRODUCT}, ["note"], pad_gtin=True
    )
    rows = rows_of(tmp_path, f"EAN = 14,SN,note\n{GTIN[1:]},U1,x\n{GTIN[1:]}x,U1,\n", choices=choices)
    assert bodies(rows) == [BODY, None]
    assert problems(rows[1]) == (f"column EAN = 14 (gs1.gtin): GTIN must be 14 digits, got '{GTIN[1:]}x'",)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("4012345000017", "GTIN check digit is invalid, got '4012345000017', whose check digit should be 6"),
        ("123456789012345", "GTIN must be 14 digits, got '123456789012345'"),
        ("1", "GTIN must be 14 digits, got '1'"),
        ("0", "GTIN must be 14 digits, got '0'"),
        ("17", "GTIN must be 14 digits, got '17'"),
        ("00000000", "GTIN must be 14 digits, got '00000000'"),
    ],
)
def test_padding_is_not_advised_where_it_is_done(tmp_path: Path, cell: str, told: str) -> None:
    """The digits themselves are wrong, then.

    Seen to fail: a lookup writes 0 for an empty cell, and 14 zeros have a good check digit.
    """
    (row,) = rows_of(tmp_path, f"{HEAD}\n{PRODUCT},{cell},U1\n", Choices(pad_gtin=True))
    assert problems(row) == (f"column gs1.gtin: {told}",)


def test_a_party_with_a_name_alone_is_told_what_it_lacks(tmp_path: Path) -> None:
    """Sheets often name the importer in one column."""
    (row,) = rows_of(tmp_path, f"{HEAD},parties.importer.legalName\n{PRODUCT},{GTIN},U1,Müller KG\n")
    assert problems(row) == (
        "column parties.importer.legalName: Expected gln or legacyOperatorId "
        "(add parties.importer.gln, its Global Location Number, or leave this party out)",
    )


@pytest.mark.parametrize("serial", ["1E5", "E+12", "12E+1", "1,2", "1,5E-3", "#1", "#", "=A1", "A+B"])
def test_a_serial_number_that_only_resembles_a_rounded_one_is_sent(tmp_path: Path, serial: str) -> None:
    """As it stands in the sheet."""
    (row,) = rows_of(tmp_path, f'{HEAD}\n{PRODUCT},{GTIN},"{serial}"\n')
    assert problems(row) == ()


def test_overage_is_confirmed_in_each_body(tmp_path: Path) -> None:
    """Over what a column says."""
    choices = Choices(confirm_overage=True)
    rows = rows_of(
        tmp_path, f"{HEAD},confirmOverage\n{PRODUCT},{GTIN},U1,FALSE\n{PRODUCT},{GTIN},U1,\n", choices=choices
    )
    assert bodies(rows) == [{**BODY, "confirmOverage": True}] * 2


@pytest.mark.parametrize(
    ("head", "choices", "told"),
    [
        (f"{HEAD},gs1.gtim", Choices(), ["column 'gs1.gtim' is not a field; did you mean gs1.gtin?"]),
        (f"{HEAD},xyz", Choices(), ["column 'xyz' is not a field; name its field with --map"]),
        (f"{HEAD},Importeur", Choices(), ["'Importeur' is not a field; did you mean parties.importer.legalName? "
                                          "Then add --map Importeur=parties.importer.legalName"]),
        (f"{HEAD},GLN Händler", Choices(), ["add --map 'GLN Händler=parties.distributor.gln'"]),
        (f"{HEAD},Import", Choices(), ["column 'Import' is not a field; name its field with --map"]),
        ("Export Werk Köln,,\n" + HEAD, Choices(), ["none of these names is known: delete any lines before the names"]),
        (f"{HEAD},gs1.gtin", Choices(), ["column 'gs1.gtin' appears 2 times"]),
        (f"{HEAD},EAN", Choices({"EAN": "gs1.gtin"}), ["filled twice, by column 'gs1.gtin' and column 'EAN'"]),
        (HEAD, Choices(fixed={"productId": PRODUCT}), ["productId is filled twice, by column 'productId' and --set"]),
        (HEAD, Choices({"GTIN": "gs1.gtin"}), ["--map: there is no column 'GTIN'"]),
        (HEAD, Choices(ignored=["note"]), ["--ignore: there is no column 'note'"]),
        (HEAD, Choices(fixed={"gs1": "x"}), ["--set: expected the path of a field, got 'gs1'"]),
        (HEAD, Choices({"productId": "product"}), ["--map: expected the path of a field, got 'product'"]),
        (HEAD, Choices(fixed={"parties.importer.gln": "\udcff"}), ["--set parties.importer.gln: expected no control"]),
        ("gs1.gtin", Choices(), ["no column fills productId", "no column fills gs1.serialNumber"]),
        ("a,b,a", Choices(), ["column 'a' appears 2 times", "column 'b' is", "no column fills gs1.gtin"]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_about_columns_is_told_at_once(
    tmp_path: Path, head: str, choices: Choices, told: list[str]
) -> None:
    """Before any row is looked at."""
    with pytest.raises(BadFile) as refused:
        table(tmp_path, f"{head}\n", choices)
    for one in told:
        assert one in str(refused.value)


def test_cells_under_no_name_are_told(tmp_path: Path) -> None:
    """A spreadsheet leaves empty columns behind; a value there was meant for something."""
    good, bad = rows_of(tmp_path, f"{HEAD},,\n{PRODUCT},{GTIN},U1,,\n{PRODUCT},{GTIN},U2,,x\n")
    assert good.command is not None
    assert problems(bad) == ("expected no cell in column 5, which has no name in the header line, got 'x'",)
    assert bodies(rows_of(tmp_path, f"{HEAD},,\n{PRODUCT},{GTIN},U1,,x\n", Choices(ignored=[""]))) == [BODY]


def test_columns_that_are_left_out_may_have_the_same_name(tmp_path: Path) -> None:
    """Nobody asks which of them is which."""
    (row,) = rows_of(tmp_path, f"{HEAD},note,note\n{PRODUCT},{GTIN},U1,a,b\n", Choices(ignored=["note"]))
    assert bodies([row]) == [BODY]
    assert row.kept.endswith(b",a,b")


def test_every_field_of_a_command_has_a_path() -> None:
    """Parties by role."""
    assert {"productId", "gs1.gtin", "gs1.serialNumber", "confirmOverage", "parties.recycler.url"} < set(PATHS)
    assert len(PATHS) == 4 + 6 * 5


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (f"{PRODUCT},{GTIN[1:]},U1\n", [(1, 2, "column gs1.gtin: GTIN must be 14 digits, got '4012345000016' "
                                        "(--pad-gtin puts back leading zeros)")]),
        (f"{PRODUCT},4012345000017,U1\n", [(1, 2, "column gs1.gtin: GTIN must be 14 digits, got '4012345000017', "
                                        "whose check digit should be 6 (--pad-gtin puts back leading zeros)")]),
        (f"{PRODUCT},{GTIN[:-1]}7,U1\n", [(1, 2, "column gs1.gtin: GTIN check digit is invalid, got '04012345000017', "
                                        "whose check digit should be 6")]),
        (f'{PRODUCT},"4,01235E+12",U1\n', [(1, 2, f"column gs1.gtin: {_ROUNDED}, got '4,01235E+12' ({_AS_NUMBER})")]),
        (f"{PRODUCT},{GTIN},1.23457e+011\n", [
            (1, 2, f"column gs1.serialNumber: {_ROUNDED}, got '1.23457e+011' ({_AS_TEXT})")]),
        (f"{PRODUCT},{GTIN},1.23457E+19 \n", [
            (1, 2, f"column gs1.serialNumber: {_ROUNDED}, got '1.23457E+19 ' ({_AS_TEXT})")]),
        (f"{PRODUCT},{GTIN},123456789012345000\n", [
            (1, 2, "column gs1.serialNumber: a spreadsheet has put zeros for the last digits of this number, "
                   f"got '123456789012345000' ({_AS_TEXT})")]),
        (f"{PRODUCT},{GTIN}, U1\n", [
            (1, 2, "column gs1.serialNumber: there is white space around this value, "
                   "got ' U1' (remove it in the sheet)")]),
        (f"{PRODUCT},{GTIN},U1\u00a0\n", [
            (1, 2, "column gs1.serialNumber: there is white space around this value, "
                   "got 'U1\\xa0' (remove it in the sheet)")]),
        (f"{PRODUCT},{GTIN},U\u200b1\n", [
            (1, 2, "column gs1.serialNumber: there is an invisible character in this value, "
                   "got 'U\\u200b1' (remove it in the sheet)")]),
        (f'{PRODUCT},{GTIN},"=""007"""\n', [
            (1, 2, "column gs1.serialNumber: a formula is here in place of its value, "
                   "got '=\"007\"' (save the value alone, without = and quotes)")]),
        (f"{PRODUCT},{GTIN},#NV\n", [
            (1, 2, "column gs1.serialNumber: a spreadsheet error is here in place of a value, "
                   "got '#NV' (correct it in the sheet, and save the sheet as CSV again)")]),
        (f"{PRODUCT},####,U1\n", [(1, 2, "column gs1.gtin: the column was too narrow to show its value, got '####' "
                                  "(widen it in the sheet, and save the sheet as CSV again)")]),
        (f"{PRODUCT},{GTIN} ,U1\n", [(1, 2, f"column gs1.gtin: GTIN must be 14 digits, got '{GTIN} ' "
                                    "(remove the white space around it)")]),
        (f"{PRODUCT},{GTIN[1:]}.0,U1\n", [
            (1, 2, f"column gs1.gtin: GTIN must be 14 digits, got '{GTIN[1:]}.0' ({_AS_NUMBER})")]),
        (f"{PRODUCT},,\n", [(1, 2, "columns gs1.gtin, gs1.serialNumber: Required")]),
        (f"{PRODUCT},{GTIN},\n", [(1, 2, "column gs1.serialNumber: Required")]),
        (f"{PRODUCT},{GTIN},U1\n\n{PRODUCT},{GTIN}\n", [(2, 4, "expected 3 cells, as the header line has, got 2")]),
        (f"{PRODUCT},{GTIN},U1,\n", [(1, 2, "expected 3 cells, as the header line has, got 4")]),
        (f'{PRODUCT},{GTIN},"a\nb"\n{PRODUCT},{GTIN},U1,x\n', [
            (1, 2, "column gs1.serialNumber: Expected no control characters or lone surrogates, got 'a\\nb'"),
            (2, 4, "expected 3 cells, as the header line has, got 4"),
        ]),
        (f'{PRODUCT},{GTIN},"a\n{PRODUCT},{GTIN},U1\n', [(1, 2, "a quote is opened and never closed")]),
        (f'{PRODUCT},{GTIN},"a"b\n{PRODUCT},{GTIN},U1\n', [
            (1, 2, "a quote inside a quoted cell: write it twice")]),
        (f"{PRODUCT},{GTIN},a\rb\n", [(1, 2, "a carriage return inside a cell: put the cell in quotes")]),
        (f"{PRODUCT},{GTIN}," + "x" * 200_000 + "\n", [
            (1, 2, "a cell is over 131,072 characters long: is its quote not closed?")]),
        (f"x,{GTIN},\x1b[31m\n", [
            (1, 2, "column productId: Expected 24 hexadecimal digits, got 'x'"),
            (1, 2, "column gs1.serialNumber: Expected no control characters or lone surrogates, got '\\x1b[31m'"),
        ]),
    ],
)  # fmt: skip
def test_a_bad_row_is_told_by_row_line_and_column(tmp_path: Path, rows: str, told: list[tuple[int, int, str]]) -> None:
    """Rows count from the first behind the header line, lines from the file's first; none stops the rest."""
    assert _told(rows_of(tmp_path, f"{HEAD}\n{rows}")) == told


def test_bytes_that_are_no_utf8_are_told_by_column(tmp_path: Path) -> None:
    """As plain CSV of an older Excel has them; the answers file has something readable in their place."""
    sheet = table(tmp_path, f"{HEAD}\n{PRODUCT},{GTIN},Größe\n{PRODUCT},{GTIN},U1\n".encode("cp1252"))
    bad, good = sheet.rows()
    told = "column gs1.serialNumber: expected UTF-8, got 'Größe' (use --encoding cp1252, or save the file as CSV UTF-8)"
    assert _told([bad]) == [(1, 2, told)]
    assert good.command is not None
    assert "Gr\ufffd\ufffde".encode() in sheet.line(bad, RowAnswer("invalid"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected a header line"),
        (b"\n" + HEAD.encode(), "expected a header line"),
        (b"PK\x03\x04rest", "this is a workbook: save it as CSV UTF-8"),
        (f"\ufeff{HEAD}\n".encode("utf-16-le"), "this is a file in UTF-16: save it as CSV UTF-8"),
        ("Größe,gs1.gtin\n".encode("cp1252"), "line 1: expected UTF-8"),
        (b"sep=:\na:b\n", "line 1: expected sep= with a comma, a semicolon, a tab or a bar, got ':'"),
        (b"sep=;\n\n", "line 2: expected a header line"),
        (HEAD.encode() + b"\rx,y,z\r", "lines end in a carriage return alone, as on an old Macintosh"),
        (b"\xd0\xcf\x11\xe0\xa1", "this is a workbook: save it as CSV UTF-8"),
        (b'"productId\n', "line 1: a quote is opened and never closed"),
        (b"x" * 2_000_000, "line 1: a cell is over 131,072 characters long"),
    ],
)
def test_what_is_no_spreadsheet_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """With what to do about it."""
    with pytest.raises(BadFile, match=told):
        table(tmp_path, content)


def test_the_answers_file_opens_in_a_spreadsheet(tmp_path: Path) -> None:
    """In the form of its input, with a byte order mark for Excel; what is added is no formula, the rest as it was."""
    sheet = table(tmp_path, f"{HEAD};note\n{PRODUCT};{GTIN};U1;\n".replace(",", ";"), Choices(ignored=["note"]))
    (row,) = sheet.rows()
    answer = RowAnswer("rejected", "404", "", "", '=1+1; "x"', "key", "-topic/0/1")
    assert sheet.head.decode("utf-8") == (
        "\ufeffproductId;gs1.gtin;gs1.serialNumber;note;answer.outcome;answer.status;answer.passportId;"
        "answer.digitalLinkUri;answer.error;answer.key;answer.place\r\n"
    )
    line = sheet.line(row, answer)
    assert line.decode() == f'{PRODUCT};{GTIN};U1;;rejected;404;;;"\'=1+1; ""x""";key;\'-topic/0/1\r\n'
    assert sheet.answered(line) == answer
    for torn in range(len(line)):
        with pytest.raises(ValueError, match=r"torn|cells"):
            sheet.answered(line[:torn])


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_nothing_that_is_added_is_a_formula(tmp_path: Path, first: str) -> None:
    """A spreadsheet takes each of these characters for the beginning of one."""
    sheet = table(tmp_path, f"{HEAD}\n{PRODUCT},{GTIN},U1\n")
    line = sheet.line(next(sheet.rows()), RowAnswer("created", error=f"{first}SUM(1)"))
    assert line.decode().split(",")[7].strip('"') == f"'{first}SUM(1)"


def test_cells_over_several_lines_stay_one_record(tmp_path: Path) -> None:
    """In the answers file as in the input."""
    sheet = table(tmp_path, f'{HEAD},note\n{PRODUCT},{GTIN},U1,"a ""b""\r\nc\n"\n' * 1, Choices(ignored=["note"]))
    (row,) = sheet.rows()
    lines = sheet.line(row, RowAnswer("created", key="k")) + sheet.line(row, RowAnswer("replayed", key="k"))
    records = list(sheet.records(iter(lines.splitlines(keepends=True))))
    assert [sheet.answered(one).outcome for one in records] == ["created", "replayed"]


def test_answers_are_an_input_too(tmp_path: Path) -> None:
    """Their columns are no fields, and `--only` chooses by outcome; rows keep their numbers."""
    first = table(tmp_path, f"{HEAD}\n" + "".join(f"{PRODUCT},{GTIN},U{n}\n" for n in range(3)))
    outcomes = ("created", "overage-required", "overage-required")
    content = first.head + b"".join(
        first.line(row, RowAnswer(outcome, key="k")) for row, outcome in zip(first.rows(), outcomes, strict=True)
    )
    again = table(tmp_path, content, only=["overage-required"], name="units.csv.answers.csv")
    assert again.head == first.head
    assert [(row.number, row.kept) for row in again.rows()] == [
        (row.number, row.kept) for row in list(first.rows())[1:]
    ]
    with pytest.raises(BadFile, match="expected an answers file"):
        table(tmp_path, f"{HEAD}\n", only=["created"])
    with pytest.raises(BadFile, match="expected one of created, replayed"):
        table(tmp_path, content, only=["overage"])


def test_a_body_that_is_wrong_in_many_places_names_them_all(tmp_path: Path) -> None:
    """Up to as many as the worker names."""
    head = ",".join(PATHS)
    (row,) = rows_of(tmp_path, f"{head}\n" + ",".join("\t" for _ in PATHS) + "\n")
    assert len(PATHS) <= len(row.faults) + 6 <= MOST_FIELD_ERRORS
