"""The image's pinned dependencies are all that the worker and its extras ask for, and name nothing but packages."""

import re
import tomllib

from packaging.requirements import Requirement

from tests.deploy.manifests import DEPLOY

EXTRAS = ("uvloop", "otel", "console")
"""Those of the image."""

TEXT = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
_PIN = r"[a-z0-9-]+==[\w.]+( ; [\w.'!=<> ]+)?"
_HASHES = r"( \\\n    --hash=sha256:[0-9a-f]{64})+"


def _pinned() -> dict[str, str]:
    """The version of each package, whatever its marker."""
    pins = [Requirement(line.removesuffix(" \\")) for line in TEXT.splitlines() if "==" in line.partition(" ")[0]]
    assert len({one.name for one in pins}) == len(pins) > 20
    return {one.name: next(iter(one.specifier)).version for one in pins}


def test_what_the_worker_asks_for_is_pinned() -> None:
    """By name, and within the bounds of `pyproject.toml`."""
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    pinned = _pinned()
    for wanted in map(Requirement, [*project["dependencies"], *extras]):
        assert wanted.specifier.contains(pinned[wanted.name]), wanted


def test_command_that_makes_the_file_is_in_it() -> None:
    """With the extras of the image, for the oldest Python that the worker takes and all later ones."""
    (command,) = re.findall(r"^#    (uv pip compile .*)$", TEXT, flags=re.MULTILINE)
    assert re.findall(r"--extra (\S+)", command) == list(EXTRAS)
    for option in ("--universal", "--python-version 3.11", "--generate-hashes", "--no-emit-index-url"):
        assert f" {option} " in command


def test_each_pin_has_hashes_and_nothing_else_is_there() -> None:
    """No option, address or path gets in: pip finds packages where the builder's own settings say."""
    body = re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)
    assert re.fullmatch(rf"({_PIN}{_HASHES}\n)+", body)
    assert "://" not in TEXT
