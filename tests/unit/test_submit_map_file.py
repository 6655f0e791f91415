"""A mapping file says once how the columns of a recurring export become fields."""

from pathlib import Path

import pytest

from tests.unit.sheets import PRODUCT
from worker.tools.cli.errors import BadUsage
from worker.tools.submit.columns import Choices
from worker.tools.submit.fields import PATHS, meant_field
from worker.tools.submit.map_file import Mapping, missing_fields, read_mapping, suggested, write_mapping
from worker.tools.submit.options import ColumnOptions
from worker.tools.submit.table import BadFile


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("EAN", "gs1.gtin"), ("GTIN-14", "gs1.gtin"), ("Serien-Nr.", "gs1.serialNumber"),
        ("Serial No", "gs1.serialNumber"),
        ("Produkt-ID", "productId"), ("gs1.gtim", "gs1.gtin"), ("parties.importer.glm", "parties.importer.gln"),
        ("Importeur", "parties.importer.legalName"), ("Hersteller (Land)", "parties.manufacturer.country"),
        ("GLN Importeur", "parties.importer.gln"), ("HÄNDLER", "parties.distributor.legalName"),
        ("Import", None), ("Bemerkung", None), ("Name", None), ("GLN", None), ("", None), ("x" * 100_000, None),
    ],
)  # fmt: skip
def test_a_name_means_a_field_or_nothing(name: str, path: str | None) -> None:
    """In English and German, however it is written."""
    assert meant_field(name) == path
    assert path is None or path in PATHS


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """With names and values that YAML would take for numbers, booleans and comments."""
    path = tmp_path / "map.yaml"
    header = ["EAN", "NO", "Serien\nNr", "# note", "gs1.serialNumber"]
    choices = Choices({"NO": "parties.importer.country"}, {"productId": "6" * 24}, encoding="cp1252", pad_gtin=True)
    mapping, guessed = suggested(header, choices)
    assert guessed == {"EAN": "gs1.gtin"}  # the serial number has its own column
    assert mapping.ignore == ["Serien\nNr", "# note"]
    assert missing_fields(header, mapping) == []
    write_mapping(path, mapping, list(guessed), [])
    assert read_mapping(path) == mapping
    options = ColumnOptions(
        map_file=path, renamed=("# note=parties.importer.legalName",), fixed=(f"productId={PRODUCT}",)
    )
    assert options.choices() == Choices(
        {"NO": "parties.importer.country", "EAN": "gs1.gtin", "# note": "parties.importer.legalName"},
        {"productId": PRODUCT}, ("Serien\nNr",), True, False, "cp1252",
    )  # fmt: skip
    with pytest.raises(BadFile, match=r"map.yaml already exists. Choose another name, or delete it first"):
        write_mapping(path, mapping, [], [])


def test_a_mapping_to_complete_can_be_read(tmp_path: Path) -> None:
    """It says which fields nothing fills."""
    path = tmp_path / "map.yaml"
    mapping, guessed = suggested(["Serial"], Choices())
    missing = missing_fields(["Serial"], mapping)
    assert missing == ["productId", "gs1.gtin"]
    write_mapping(path, mapping, list(guessed), missing)
    assert "# no column fills productId" in path.read_text(encoding="utf-8")
    assert read_mapping(path) == mapping


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected map, set, ignore, pad-gtin or encoding in"),
        (b"- EAN\n", "expected map, set, ignore"),
        (b"{", "is not YAML: while parsing"),
        (b"\xff\xfe", "is not YAML"),
        (b"columns: {}\n", "cannot be used:\n  columns: expected one of map, set, ignore, pad-gtin and encoding"),
        (b"map: EAN\n", "map: expected one line for each, as in `EAN: gs1.gtin`"),
        (b"set:\n  productId: [a]\n", "set.productId: expected text"),
        (b"pad-gtin: maybe\n", "pad-gtin: expected true or false"),
        (b"encoding: utf-16\n", "expected utf-8, cp1252 or another"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """With the key that is wrong."""
    path = tmp_path / "map.yaml"
    path.write_bytes(content)
    with pytest.raises(BadFile) as refused:
        ColumnOptions(map_file=path).choices()
    assert told in str(refused.value)


def test_values_are_texts(tmp_path: Path) -> None:
    """A GTIN keeps its zeros, and an id of digits alone stays one."""
    path = tmp_path / "map.yaml"
    path.write_text(f"set:\n  gs1.gtin: 04012345000016\n  productId: {'6' * 24}\npad-gtin: true\nignore:\n")
    expected = Mapping(set={"gs1.gtin": "04012345000016", "productId": "6" * 24}, pad_gtin=True)
    assert read_mapping(path) == expected


def test_options_are_pairs() -> None:
    """Of a column, which may have an equals sign in its name, and a path."""
    assert ColumnOptions(renamed=("a=b=gs1.gtin",)).choices().renamed == {"a=b": "gs1.gtin"}
    with pytest.raises(BadUsage, match="--map: expected COLUMN=PATH, got 'EAN'"):
        ColumnOptions(renamed=("EAN",)).choices()
    with pytest.raises(BadFile, match="--map-file: cannot read /none: No such file"):
        ColumnOptions(map_file=Path("/none")).choices()
