"""The workflows are right as far as it shows without GitHub: syntax, expressions, shell, rights, and what they name."""

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import ROOT, arguments
from tests.deploy.release import PROJECT
from tests.infrastructure.tools import tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
SCRIPTS = sorted((ROOT / ".ci").iterdir())
_PROGRAMS = Path(sysconfig.get_path("scripts"))


def _finds_nothing(*words: object) -> None:
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
    return content


def test_actionlint_has_nothing_to_say() -> None:
    """Keys, expressions, rights, needs, and the shell of each step (https://github.com/rhysd/actionlint)."""
    _finds_nothing(tool("actionlint"), "-shellcheck", _PROGRAMS / "shellcheck", *WORKFLOWS)


def test_zizmor_has_nothing_to_say() -> None:
    """Actions pinned by their commits, few rights, nothing of a stranger in a shell; and Dependabot's file is one."""
    _finds_nothing(_PROGRAMS / "zizmor", "--offline", "--quiet", "--strict-collection", ".github")


def test_shellcheck_has_nothing_to_say() -> None:
    """Of the scripts that workflows run, and their like."""
    _finds_nothing(_PROGRAMS / "shellcheck", *SCRIPTS)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_scripts_that_a_workflow_runs_exist(file: Path) -> None:
    """With the right to be run, and with as many words as they take."""
    runs = re.findall(r"(?:run: |^ +|/)(\.ci/\w+)((?: \S+)*)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert runs
    for script, words in runs:
        assert (ROOT / script).stat().st_mode & 0o111, script
        wanted = {".ci/build": 1, ".ci/image": 3, ".ci/python": 2}.get(script, 0)
        assert len(words.partition(" &&")[0].split()) == wanted, script


def test_image_has_a_python_that_was_tested() -> None:
    """Everywhere that a release is made, too; and the metadata name no Python that is not tested."""
    (image,) = set(re.findall(r"python:(3\.\d+)\.", " ".join(arguments("FROM"))))
    tested = _workflow("ci.yaml")["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    assert image in tested
    built = _workflow("release.yaml")["jobs"]["build"]["steps"]
    assert [step["with"]["python-version"] for step in built if "python-version" in step.get("with", {})] == [image]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert set(named) <= set(tested)
    assert f"The image has Python {image} " in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("version", "notes"),
    [
        ("1.1.0", "\nMigrate first.\n\n- New.\n\n"),
        ("1.0.1", "\n- A fix.\n\n"),
        ("1.0.0", "\n### The worker\n\n- All.\n"),
    ],
)
def test_notes_of_a_release_are_its_part_of_the_changelog(tmp_path: Path, version: str, notes: str) -> None:
    """The command of the workflow, whatever the section begins with."""
    text = (ROOT / ".github" / "workflows" / "release.yaml").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ +(sed .* CHANGELOG\.md) >", text, re.MULTILINE)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.1.0 (2026-12-24)\n\nMigrate first.\n\n- New.\n\n## 1.0.1 (2026-12-23)\n\n- A fix.\n\n"
        "## 1.0.0 (2026-11-30)\n\n### The worker\n\n- All.\n",
        encoding="utf-8",
    )
    environment = {"GITHUB_REF_NAME": f"v{version}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == notes
