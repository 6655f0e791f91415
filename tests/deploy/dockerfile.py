"""The Dockerfile's own instructions, and its build in a folder in place of a container's root."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
EPOCH = "1767225600"
"""What the build says for `SOURCE_DATE_EPOCH`: the first second of 2026."""

_ABSOLUTE = re.compile(r'(?<![^\s"=])/(?=[\w.])')


@dataclass(frozen=True, slots=True)
class Instruction:
    """`name` is the keyword, `arguments` what follows it on the (joined) line."""

    name: str
    arguments: str


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, its `FROM` first with default arguments; no comments; continued lines joined."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: list[list[Instruction]] = []
    defaults: dict[str, str] = {}
    for line in filter(None, joined.splitlines()):
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            found.append([])
            arguments = Template(arguments).substitute(defaults)
        elif not found:
            argument, _, default = arguments.partition("=")
            defaults[argument] = default
            continue
        found[-1].append(Instruction(name, arguments.strip()))
    return found


def arguments(name: str) -> list[str]:
    """The arguments of all instructions of one kind, in order."""
    return [one.arguments for stage in stages() for one in stage if one.name == name]


def variables(stage: list[Instruction]) -> dict[str, str]:
    """What `ENV` sets in a stage, less `PATH`, which names folders of the image."""
    pairs = (pair.partition("=") for one in stage if one.name == "ENV" for pair in one.arguments.split())
    return {name: value for name, _, value in pairs if name != "PATH"}


_OF_PYTHON = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


class Build:
    """The steps of the Dockerfile, run below `root` with a plain virtual environment as the image's Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / "usr" / "local"

    def run(self) -> None:
        """Run all steps."""
        subprocess.run([sys.executable, "-m", "venv", str(self.python)], check=True, timeout=300)
        self.first_stage()
        self.pip_goes()

    def moved(self, text: str) -> str:
        """The text with its absolute paths below `root`."""
        return _ABSOLUTE.sub(f"{self.root}/", text)

    def first_stage(self) -> None:
        """All instructions of the stage that builds."""
        stage = stages()[0]
        folder = self.root
        for one in stage:
            if one.name == "WORKDIR":
                folder = Path(self.moved(one.arguments))
                folder.mkdir(parents=True)
            elif one.name == "COPY":
                _copy(one.arguments.split(), folder)
            elif one.name == "RUN":
                self._run(self.moved(one.arguments), folder, variables(stage) | {"SOURCE_DATE_EPOCH": EPOCH})

    def pip_goes(self) -> None:
        """The part of the last stage that takes pip out of the image's Python; its other part makes the user."""
        (command,) = (one.arguments for one in stages()[1] if one.name == "RUN")
        (part,) = (part for part in command.split("&&") if " pip " in part)
        self._run(part, self.root, {})

    def _run(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        """As Docker would, which knows no variables of Python. pip finds its index as this machine is configured."""
        path = f"{self.python / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env={**os.environ, **environment, "PATH": path, **dict.fromkeys(_OF_PYTHON, "")},
            capture_output=True,
            text=True,
            timeout=580,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _copy(words: list[str], folder: Path) -> None:
    """`COPY` from the repository, as far as `.dockerignore` lets it in."""
    sources, target = words[:-1], folder / words[-1]
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, target)
