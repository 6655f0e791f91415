"""Tools that tests call and that pip does not install; `.ci/tools` puts them into the user's cache folder."""

import os
import shutil
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passport-worker"
TOOLS = CACHE / "tools"
NODE_MODULES = TOOLS / "node_modules"

NOT_OURS = "which is no part of this repository"
"""In the reason of a skip: nothing here could install what is missing, so no run fails for it."""


def tool(name: str) -> str:
    """The path of a program, from the cache folder or else from PATH; skips the test where it is missing."""
    found = shutil.which(name, path=os.pathsep.join((str(TOOLS / "bin"), os.environ.get("PATH", os.defpath))))
    if found is None:
        pytest.skip(f"needs {name}, which .ci/tools installs")
    return found
