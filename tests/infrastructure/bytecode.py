"""Where compiled modules are kept when somebody wants none beside the sources (`PYTHONDONTWRITEBYTECODE`)."""

import os
import sys
from pathlib import Path

_FOLDER = Path(__file__).parents[2] / ".pytest_cache" / "bytecode"


def keep_bytecode() -> None:
    """Keep it in pytest's cache, for this process and its children.

    Each process of a run would otherwise compile all tests and rewrite their assertions anew, which takes five seconds.
    """
    if sys.dont_write_bytecode:
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(_FOLDER)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(_FOLDER)
