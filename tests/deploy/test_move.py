"""The page on moves quotes the scripts that tests run, and names what exists."""

import re

import pytest

from tests.deploy.manifests import DEPLOY
from tests.deploy.pages import blocks, page
from worker.store.postgres import SESSION_SETTINGS

PAGE = page("move.md")
SCRIPTS = sorted(set(re.findall(r"`scripts/([\w.-]+)", PAGE)) - {"pooled-role.sql"})


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_is_quoted_whole(name: str) -> None:
    """But for the line that names the shell. Whoever reads the page reads what was tested."""
    text = (DEPLOY / "scripts" / name).read_text(encoding="utf-8")
    assert text.removeprefix("#!/bin/sh\n") in blocks(PAGE, name.rpartition(".")[2])


def test_scripts_of_shell_can_be_run() -> None:
    """Without a word before them."""
    assert len(SCRIPTS) == 5
    for name in SCRIPTS:
        assert name.endswith(".sql") or (DEPLOY / "scripts" / name).stat().st_mode & 0o111, name


def test_pgbouncer_ignores_what_a_session_asks_for() -> None:
    """All settings but the one that it passes on."""
    (ignored,) = re.findall(r"ignore_startup_parameters = ([\w,\s]+)`", PAGE)
    assert {*re.split(r",\s+", ignored)} == SESSION_SETTINGS.keys() - {"application_name"}
