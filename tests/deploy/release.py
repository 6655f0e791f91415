"""Builds of the wheel and the sdist with the pinned backend, as the release workflow makes them."""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.dockerfile import EPOCH, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked() -> list[str]:
    """The files of the repository, and new ones that git would take."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).exists()]


def copy_of_the_tree(folder: Path) -> Path:
    """A fresh clone's files, all of them with the time of now."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@dataclass(frozen=True, slots=True)
class Backend:
    """An environment with the pinned build backend and nothing else."""

    python: Path

    @classmethod
    def installed(cls, folder: Path) -> "Backend":
        """Installs it as the Dockerfile does."""
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=60)
        backend = cls(folder / "bin" / "python")
        pins = ROOT / "deploy" / "build-requirements.txt"
        words = ["-m", "pip", "install", "-q", "--only-binary=:all:", "--require-hashes", "-r", str(pins)]
        backend._run(words, folder)
        return backend

    def build(self, tree: Path, dist: Path) -> dict[str, bytes]:
        """The wheel and the sdist of a tree, by their names."""
        self._run(["-m", "hatchling", "build", "-d", str(dist)], tree)
        return {path.name: path.read_bytes() for path in dist.iterdir()}

    def _run(self, words: list[str], folder: Path) -> None:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONPATH": ""}
        subprocess.run([str(self.python), *words], cwd=folder, env=environment, check=True, timeout=120)
