"""Folders with the worker of another version, for processes that take turns with those of this one."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.workbench import REPOSITORY
from worker.store.schema import Migration


class UnknownVersion(ValueError):
    """Neither a folder with a worker nor a revision of this repository."""


def tree_of(source: str, folder: Path) -> Path:
    """The worker of a folder as it stands, or of a revision of this repository, such as `v1.0.0`, put into `folder`.

    Raises `UnknownVersion`.
    """
    if (Path(source) / "worker" / "__main__.py").is_file():
        return Path(source).resolve()
    command = ["git", "-C", str(REPOSITORY), "archive", "--format=tar", source, "worker"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode().strip()
        raise UnknownVersion(f"expected a folder with `worker/`, or a revision, got {source}: {reason}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def next_version(folder: Path, *migrations: Migration) -> Path:
    """This version with further migrations, put into `folder`."""
    shutil.copytree(REPOSITORY / "worker", folder / "worker")
    for migration in migrations:
        path = folder / "worker" / "store" / "migrations" / migration.name
        path.write_text(migration.text, encoding="utf-8")
    return folder
