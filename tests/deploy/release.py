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
        """Installs it by its hashes, with uv, which is quicker than the pip of the Dockerfile."""
        uv, pins = [sys.executable, "-m", "uv"], ROOT / "deploy" / "build-requirements.txt"
        subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True, timeout=60)
        install = ["pip", "install", "-q", "--no-build", "--require-hashes", "--python", str(folder), "-r", str(pins)]
        subprocess.run([*uv, *install], check=True, timeout=120)
        return cls(folder / "bin" / "python")

    def build(self, tree: Path, dist: Path) -> dict[str, bytes]:
        """The wheel and the sdist of a tree, by their names."""
        words = [str(self.python), "-m", "hatchling", "build", "-d", str(dist)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONPATH": ""}
        subprocess.run(words, cwd=tree, env=environment, check=True, timeout=120)
        return {path.name: path.read_bytes() for path in dist.iterdir()}
