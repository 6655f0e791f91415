"""`demo --use-environment` says which servers it will use, and goes on only where somebody agrees."""

import os
import sys
from contextlib import nullcontext
from io import StringIO

import pytest

from worker.settings import Settings
from worker.tools.cli.main import main
from worker.tools.demo import show

KAFKA = {"PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "kafka.test:9092"}
POSTGRES = {"PASSPORT_DATABASE_URL": "postgresql://me:hunter2@db.test:5433/passports"}


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, show.Options]]:
    """The demos that were started, with their settings; none really is."""
    demos: list[tuple[Settings, show.Options]] = []

    async def run_demo(settings: Settings, _: object, options: show.Options) -> None:
        demos.append((settings, options))

    monkeypatch.setattr(show, "run_demo", run_demo)
    for variable in [name for name in os.environ if name.startswith("PASSPORT_")]:
        monkeypatch.delenv(variable)
    return demos


@pytest.mark.parametrize(
    ("arguments", "typed", "is_started"),
    [((), "y\n", True), ((), "Yes\n", True), (("--yes",), None, True), ((), "\n", False), ((), "", False)],
)
def test_it_uses_named_servers_where_somebody_agrees(
    arguments: tuple[str, ...],
    typed: str | None,
    is_started: bool,
    started: list[tuple[Settings, show.Options]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both servers are named first, without a password; `--yes` needs no terminal."""
    for name, value in (KAFKA | POSTGRES).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", StringIO() if typed is None else _Terminal(typed))
    _run("--use-environment", *arguments, code=0 if is_started else 1)
    printed = capsys.readouterr()
    assert "Kafka: kafka.test:9092" in printed.out
    assert "PostgreSQL: db.test:5433/passports" in printed.out
    assert "API keys everybody knows" in printed.out
    assert "hunter2" not in printed.out
    assert printed.err == ("" if is_started else "passport-worker: stopped; nothing was changed\n")
    assert [(options.embedded, settings.database_url) for settings, options in started] == (
        [(False, POSTGRES["PASSPORT_DATABASE_URL"])] if is_started else []
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (KAFKA | POSTGRES, "--use-environment: add --yes to agree; without a terminal the demo cannot ask you"),
        (KAFKA, "--use-environment: set PASSPORT_DATABASE_URL, too; the demo does not guess which servers you mean"),
        ({}, "--use-environment: set PASSPORT_KAFKA_BOOTSTRAP_SERVERS and PASSPORT_DATABASE_URL, too"),
    ],
    ids=["no terminal", "one server", "no server"],
)
def test_it_refuses_where_nobody_can_agree(
    environment: dict[str, str],
    said: str,
    started: list[tuple[Settings, show.Options]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad usage; nothing is started."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    _run("--use-environment", code=2)
    assert f"passport-worker: {said}" in capsys.readouterr().err
    assert started == []


def test_other_servers_are_ignored_without_it(
    started: list[tuple[Settings, show.Options]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names what is ignored, also for the children that the demo starts; other settings stay."""
    for name, value in (KAFKA | POSTGRES | {"PGSSLMODE": "require", "PASSPORT_GROUP_ID": "mine"}).items():
        monkeypatch.setenv(name, value)
    _run(code=0)
    ignored = "PASSPORT_DATABASE_URL, PASSPORT_KAFKA_BOOTSTRAP_SERVERS, PGSSLMODE"
    reason = "ignored, since the demo starts its own servers. --use-environment uses yours."
    assert capsys.readouterr().out == f"{ignored}: {reason}\n"
    [(settings, options)] = started
    assert (options.embedded, settings.group_id) == (True, "mine")
    assert not {"database_url", "kafka_bootstrap_servers"} & settings.model_fields_set
    assert os.environ.keys() & {*KAFKA, *POSTGRES, "PGSSLMODE"} == set()


def _run(*arguments: str, code: int) -> None:
    with pytest.raises(SystemExit) if code else nullcontext() as left:
        main(["demo", *arguments])
    assert left is None or left.value.code == code
