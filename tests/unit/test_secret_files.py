"""Secrets in files: what a file may hold, what is said of a bad one, and that none is shown."""

import json
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.workbench import run_command
from worker.secret_file import UnreadableSecret, read_secret
from worker.settings import Settings
from worker.store.address import HIDDEN, has_password
from worker.store.errors import postgres_fault

_URL = "postgresql://w@db.example/p"


def _file(tmp_path: Path, content: str, name: str = "secret") -> str:
    (tmp_path / name).write_text(content)
    return str(tmp_path / name)


@pytest.mark.parametrize("written", ["hunter2", "hunter2\n", "hunter2\r\n", "hunter2\n\n"])
def test_the_line_breaks_that_editors_add_are_no_part_of_a_secret(tmp_path: Path, written: str) -> None:
    """White space may be part of a password, and stays."""
    assert read_secret("X", _file(tmp_path, written)) == "hunter2"
    assert read_secret("X", _file(tmp_path, f" {written}")) == " hunter2"


def _problems(**values: str) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        Settings(**values)  # type: ignore[arg-type]  # as the environment has them
    return {str(error["loc"][0]): error["msg"] for error in refused.value.errors()}


@pytest.mark.parametrize("setting", ["database_url_file", "database_password_file", "kafka_sasl_password_file"])
def test_a_file_that_cannot_be_used_is_a_bad_setting(tmp_path: Path, setting: str) -> None:
    """The reason is told, at the setting's name."""
    missing, folder = str(tmp_path / "nosuch"), str(tmp_path)
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    expected = "expected a file that can be read, got: "
    assert _problems(**{setting: missing}) == {setting: f"{expected}No such file or directory"}
    assert _problems(**{setting: folder}) == {setting: f"{expected}Is a directory"}
    assert _problems(**{setting: str(tmp_path / "latin")}) == {setting: "expected a file in UTF-8"}
    empty = _file(tmp_path, "\n")
    assert _problems(**{setting: empty}) == {setting: "expected a file with a secret in it, got an empty one"}


def test_a_secret_stands_in_one_place(tmp_path: Path) -> None:
    """Otherwise somebody would rotate the one that does not count."""
    password, url = _file(tmp_path, "hunter2"), _file(tmp_path, "postgresql://w:hunter2@db/p", "url")
    assert _problems(database_url=_URL, database_url_file=url) == {
        "database_url_file": "expected without PASSPORT_DATABASE_URL: only one of them can count"
    }
    assert _problems(kafka_sasl_password="x", kafka_sasl_password_file=password) == {
        "kafka_sasl_password_file": "expected without PASSPORT_KAFKA_SASL_PASSWORD: only one of them can count"
    }
    twice = {"database_password_file": "expected with a URL that holds no password: only one of them can count"}
    assert _problems(database_url_file=url, database_password_file=password) == twice
    assert _problems(database_url="postgresql://w:hunter2@db/p", database_password_file=password) == twice
    assert Settings(database_url=_URL, database_password_file=password).database.place == "db.example:5432/p"


@pytest.mark.parametrize(
    ("url", "has"),
    [
        ("postgresql://w:p@h/x", True),
        ("postgresql://w@h/x?password=p", True),
        ("postgresql://w@h:5432/x", False),
        ("postgresql://h:5432/x?user=w", False),
        ("postgresql:///x?host=/run", False),
        ("no url", False),
    ],
)
def test_a_url_with_a_password_is_known(url: str, has: bool) -> None:
    """By user and password, or by its parameter."""
    assert has_password(url) is has


def test_a_password_file_takes_the_place_of_a_password(tmp_path: Path) -> None:
    """With a SASL protocol; without either, the password is what is missing."""
    sasl = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "w"}
    assert Settings(**sasl, kafka_sasl_password_file=_file(tmp_path, "hunter2"))  # type: ignore[arg-type]
    assert _problems(**sasl) == {"kafka_sasl_password": "expected with a SASL security protocol"}


def test_the_file_of_a_url_counts_as_it_stands_now(tmp_path: Path) -> None:
    """It may become bad while a worker runs: the worker says so, waits, and shows nothing of it."""
    file = _file(tmp_path, "postgresql://w:hunter2@one/p\n")
    database = Settings(database_url_file=file).database
    assert database.place == "one:5432/p"
    assert (Settings(database_url_file=file).names_database, Settings().names_database) == (True, False)
    _file(tmp_path, "postgresql://w:hunter2@two/p")
    assert database.place == "two:5432/p"
    _file(tmp_path, "postgresql://w:hun#ter2@two/p")
    assert database.place == HIDDEN
    with pytest.raises(UnreadableSecret) as bad:
        database.present_url()
    said = str(postgres_fault(bad.value, database))
    assert said.startswith("There are no credentials for Postgres: PASSPORT_DATABASE_URL_FILE: expected postgresql://")
    assert "hun" not in said + repr(database)


def test_bad_files_end_a_command_and_are_listed_without_their_content(tmp_path: Path) -> None:
    """Exit 2, at once, as for every bad setting."""
    url = _file(tmp_path, "mysql://w:hunter2@db/p")

    def said(*command: str) -> subprocess.CompletedProcess[str]:
        done = run_command(*command, PASSPORT_DATABASE_URL_FILE=url)
        assert done.returncode == 2
        assert "hunter" not in done.stdout + done.stderr
        return done

    expected = "PASSPORT_DATABASE_URL_FILE: the file: expected a URL that starts with postgresql://"
    assert expected in said("run").stderr
    assert [problem["text"] for problem in json.loads(said("settings", "--json").stdout)["problems"]] == [expected]
