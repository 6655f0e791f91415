"""`submit` as somebody types it, as far as it needs no server: exit codes, what it says, how it asks for a secret."""

import os
import pty
from pathlib import Path

import pytest

from tests.infrastructure.forked import ForkedProcess
from tests.unit.sheets import GTIN, HEAD, LINE, PRODUCT
from tests.workbench import run_command

GOOD = f"{HEAD}\n{PRODUCT},{GTIN},U1\n"
AWAY = {"PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def _file(folder: Path, content: str, name: str = "units.csv") -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(
    ("content", "options", "code", "told"),
    [
        (GOOD, (), 0, "1 row: 1 good, 0 bad. Nothing was sent."),
        (GOOD.replace("U1", ""), (), 1, "row 1, line 2, column gs1.serialNumber: Required"),
        (GOOD.replace("U1", "U1,"), (), 1, "row 1, line 2, expected 3 cells, as the header line has, got 4"),
        (GOOD.replace("gs1.gtin", "gtin"), (), 2, "column 'gtin' is not a field; did you mean gs1.gtin?"),
        (GOOD.replace("gs1.gtin", "EAN"), ("--map", "EAN=gs1.gtin"), 0, "1 good"),
        (GOOD, ("--map", "EAN"), 2, "--map: expected COLUMN=PATH, got 'EAN'"),
        (GOOD, ("--set", "productId="), 2, "--set: expected PATH=VALUE, got 'productId='"),
        (GOOD, ("--set", "a=1", "--set", "a=2"), 2, "--set: a is given twice"),
        (GOOD, ("--only", "created"), 2, "--only: expected an answers file"),
        (GOOD, ("--encoding", "utf-16"), 2, "--encoding: expected utf-8, cp1252 or another encoding"),
        (GOOD, ("--map-file", "/none"), 2, "--map-file: cannot read /none"),
        (GOOD.replace("U1\n", f"U1\n{PRODUCT},{GTIN},U1\n"), (), 0, "got those of row 1, line 2 (the rows are equal"),
        (GOOD, ("--json",), 0, '"dryRun": true,'),
        (GOOD, ("--rate", "0"), 2, "--rate: expected a number above 0"),
        (GOOD, ("--in-flight", "-1"), 2, "--in-flight: expected a number above 0"),
        (GOOD, ("--patience", "nan"), 2, "--patience: expected a number above 0"),
        ("", (), 2, "line 1: expected a header line"),
        (f"{HEAD}\n", (), 0, "0 rows: 0 good, 0 bad."),
        (LINE.decode().replace(GTIN, "1"), (), 1, "row 1, line 1, field gs1.gtin: GTIN must be 14 digits"),
    ],
)
def test_a_dry_run_needs_no_server_and_no_credentials(
    tmp_path: Path, content: str, options: tuple[str, ...], code: int, told: str
) -> None:
    """Findings on stdout, bad usage on stderr; no file is written."""
    name = "units.ndjson" if content.startswith("{") else "units.csv"
    done = run_command("submit", _file(tmp_path, content, name), "--dry-run", *options, **AWAY)
    assert done.returncode == code, done
    assert told in (done.stderr if code == 2 else done.stdout)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_german_export_becomes_commands_in_three_steps(tmp_path: Path) -> None:
    """Write a mapping, complete it, check: with umlauts, 13-digit GTINs, and lines as Excel ends them."""
    file, mapping = tmp_path / "units.csv", tmp_path / "units.map.yaml"
    lines = (
        "sep=;",
        "EAN;Seriennummer;Händler;Händler GLN;Notiz",
        *('4012345000016;U1;Größe;4012345000009;"a\nb"',) * 2,
    )
    file.write_bytes("".join(f"{line}\r\n" for line in (*lines, ";;;;", "")).encode("cp1252"))
    written = run_command("submit", str(file), "--write-map", str(mapping), **AWAY)
    assert written.returncode == 0, written
    assert "  encoding cp1252 (guessed from its bytes)" in written.stdout.splitlines()
    assert "  no column fills productId: add it to the mapping" in written.stdout.splitlines()
    again = run_command("submit", str(file), "--write-map", str(mapping), **AWAY)
    assert (again.returncode, "already exists. Choose another name" in again.stderr) == (2, True)
    text = mapping.read_text(encoding="utf-8").replace("pad-gtin: false", "pad-gtin: true")
    mapping.write_text(text.replace("set:", f"set:\n  productId: {PRODUCT}"), encoding="utf-8")
    done = run_command("submit", str(file), "--map-file", str(mapping), "--dry-run", **AWAY)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 rows: 2 good, 0 bad. Nothing was sent."), done


def test_a_terminal_without_umlauts_shows_escapes(tmp_path: Path) -> None:
    """Such as one whose locale is ASCII or Latin."""
    file = _file(tmp_path, f"{HEAD},parties.importer.gln\n{PRODUCT},{GTIN},U1,Größe\n")
    done = run_command("submit", file, "--dry-run", PYTHONIOENCODING="ascii", **AWAY)
    assert (done.returncode, done.stderr) == (1, "")
    assert "GLN must be 13 digits, got 'Gr\\xf6\\xdfe'" in done.stdout


def test_answers_do_not_take_the_place_of_the_rows(tmp_path: Path) -> None:
    """However the file is named."""
    file = _file(tmp_path, GOOD)
    (tmp_path / "link.csv").symlink_to(file)
    done = run_command("submit", file, "--answers", str(tmp_path / "link.csv"), PASSPORT_API_KEY="tp_x", **AWAY)
    assert (done.returncode, "--answers: expected another file than" in done.stderr) == (2, True), done
    assert Path(file).read_text(encoding="utf-8") == GOOD


@pytest.mark.parametrize(
    ("content", "code", "told"),
    [
        ("\ufefftp_secret\r\n".encode(), 1, "cannot be reached"),
        ("\ufefftp_secret".encode("utf-16-le"), 2, "cannot read"),
    ],
)
def test_a_secret_in_a_file_of_a_windows_editor(tmp_path: Path, content: bytes, code: int, told: str) -> None:
    """UTF-8 with a byte order mark, and nothing else."""
    (tmp_path / "secret.txt").write_bytes(content)
    options = ("--credentials-file", str(tmp_path / "secret.txt"))
    done = run_command("submit", _file(tmp_path, GOOD), *options, **AWAY)
    assert (done.returncode, told in done.stderr) == (code, True), done
    assert "tp_secret" not in done.stderr


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """So is a folder, and standard input, which cannot be read twice; a wrong name is told as such."""
    missing = "No such file or directory"
    for name, why in ((tmp_path, "expected a file"), (tmp_path / "none", missing), ("-", "expected a file")):
        done = run_command("submit", str(name), "--dry-run")
        assert (done.returncode, f"cannot read {name}: {why}" in done.stderr) == (2, True), done
    done = run_command("submit", _file(tmp_path, GOOD), "--credentials-file", str(tmp_path / "none"), **AWAY)
    assert (done.returncode, done.stderr.endswith(f"cannot read {tmp_path / 'none'}: {missing}\n")) == (2, True), done


@pytest.mark.parametrize(("typed", "code", "told"), [("tp_secret", 1, "cannot be reached"), ("", 2, "expected an API")])
def test_a_secret_is_asked_for_without_an_echo(tmp_path: Path, typed: str, code: int, told: str) -> None:
    """Where somebody sits at a terminal; nothing of it is shown."""
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
    process = ForkedProcess[bytes](
        "worker", ["submit", _file(tmp_path, GOOD)], {**clean, **AWAY}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while b"token: " not in shown:
        shown += os.read(ours, 1024)
    os.write(ours, f"{typed}\n".encode())
    try:
        while more := os.read(ours, 1024):
            shown += more
    except OSError:  # Linux says so when nobody is left at the other end
        pass
    os.close(ours)
    assert process.wait(20) == code
    assert told in shown.decode()
    assert b"tp_secret" not in shown
