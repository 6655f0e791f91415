"""The page on production says what there is: its overlay renders, and the objects and files that it names exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY, of_kind, rendered
from tests.infrastructure.tools import tool

PAGE = (DEPLOY / "README.md").read_text(encoding="utf-8")
PRODUCTION = "kubernetes/overlays/production"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_overlay_of_the_page_renders(tmp_path: Path) -> None:
    """With a checkout of this repository beside it, and with the settings and the image that it names."""
    (kustomization,) = _blocks("yaml")
    (tmp_path / "passport-worker").mkdir()
    shutil.copytree(DEPLOY, tmp_path / "passport-worker" / "deploy")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(kustomization, encoding="utf-8")
    done = subprocess.run(
        [tool("kustomize"), "build", str(tmp_path / "mine")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in re.findall(r"- (PASSPORT_\w+)=(\S+)", kustomization):
        assert f"{line[0]}: {line[1]}\n" in done.stdout
    assert set(re.findall(r"image: (\S+)", done.stdout)) == {"registry.example.com/passport-worker:0.1.0"}


@pytest.mark.parametrize(
    ("word", "kind"),
    [("deployment", "Deployment"), ("job", "Job"), ("cronjob", "CronJob"), ("scaledobject", "ScaledObject")],
)
def test_objects_that_commands_name_exist(word: str, kind: str) -> None:
    """A command that is pasted finds what it asks for."""
    named = set(re.findall(rf"\b{word}/([\w-]+)", PAGE)) - {"catalogue-1"}
    assert named
    assert named <= of_kind(rendered(PRODUCTION), kind).keys()


def test_selectors_of_commands_select_something() -> None:
    """An upgrade would otherwise apply nothing, and say nothing."""
    found = [one["metadata"].get("labels", {}) for one in rendered(PRODUCTION)]
    labels = {f"{key}={value}" for one in found for key, value in one.items()}
    named = set(re.findall(r"--selector (\S+)", PAGE))
    assert named
    assert named <= labels


def test_files_that_the_page_names_exist() -> None:
    """Paths are relative to the root of the repository, or to this folder."""
    named = set(re.findall(r"(?<![\w/.])deploy/[\w./-]*\w", PAGE))
    first_column = re.findall(r"^\| (`.*?) \|", PAGE.partition("##")[0], flags=re.MULTILINE)
    named |= {f"deploy/{path}" for cell in first_column for path in re.findall(r"`([^`]+)`", cell)}
    missing = {path for path in named if not (DEPLOY.parent / path).exists()}
    assert len(named) > 5
    assert not missing


def test_shell_of_the_page_is_shell() -> None:
    """No block has a quote too few."""
    for block in _blocks("sh"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, timeout=10)
