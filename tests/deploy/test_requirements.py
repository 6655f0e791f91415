"""Pinned packages are all that is asked for, and their files name nothing but packages."""

import os
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.deploy.manifests import DEPLOY

IMAGE, BACKEND, RELEASE = (DEPLOY / f"{name}requirements.txt" for name in ("", "build-", "release-"))
EXTRAS = ("uvloop", "otel", "console")
"""Those of the image."""

PROJECT = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
ASKED_FOR = {
    IMAGE: [
        *PROJECT["project"]["dependencies"],
        *(text for extra in EXTRAS for text in PROJECT["project"]["optional-dependencies"][extra]),
    ],
    BACKEND: PROJECT["build-system"]["requires"],
    RELEASE: PROJECT["dependency-groups"]["release"],
}
_PIN = r"[a-z0-9-]+==[\w.]+( ; [\w.'!=<> ]+)?"
_HASHES = r"( \\\n    --hash=sha256:[0-9a-f]{64})+"

each_file = pytest.mark.parametrize("file", ASKED_FOR, ids=lambda file: file.name)


def pinned(file: Path) -> dict[str, Requirement]:
    """The pins by their packages, whatever their markers."""
    lines = file.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.removesuffix(" \\")) for line in lines if "==" in line.partition(" ")[0]]
    assert len({pin.name for pin in pins}) == len(pins) > 5
    return {pin.name: pin for pin in pins}


@each_file
def test_what_is_asked_for_is_pinned(file: Path) -> None:
    """By name, and within the bounds of `pyproject.toml`."""
    pins = pinned(file)
    for wanted in map(Requirement, ASKED_FOR[file]):
        assert wanted.specifier.contains(next(iter(pins[wanted.name].specifier)).version), wanted


def test_group_of_the_build_is_what_a_build_asks_for() -> None:
    """uv pins groups, but not `build-system.requires`."""
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


@each_file
def test_command_that_makes_the_file_is_in_it(file: Path) -> None:
    """With the extras of the image, for the oldest Python that the worker takes and all later ones."""
    (command,) = re.findall(r"^#    (uv pip compile .*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert re.findall(r"--extra (\S+)", command) == list(EXTRAS if file == IMAGE else ())
    assert command.endswith(f" --output-file deploy/{file.name}")
    for option in ("--universal", "--python-version 3.11", "--generate-hashes", "--no-emit-index-url"):
        assert f" {option} " in command


@each_file
def test_each_pin_has_hashes_and_nothing_else_is_there(file: Path) -> None:
    """No option, address or path gets in: pip finds packages where the builder's own settings say."""
    text = file.read_text(encoding="utf-8")
    assert re.fullmatch(rf"({_PIN}{_HASHES}\n)+", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert "://" not in text


@pytest.mark.skipif(not os.environ.get("PASSPORT_TEST_SHIPPED"), reason="runs on whatever packages are installed")
def test_these_tests_run_on_what_is_shipped() -> None:
    """`PASSPORT_TEST_SHIPPED=1` promises it."""
    pins = [pin for pin in pinned(IMAGE).values() if not pin.marker or pin.marker.evaluate()]
    found = {pin.name: version(pin.name) for pin in pins}
    assert {pin.name: found[pin.name] for pin in pins if not pin.specifier.contains(found[pin.name])} == {}
