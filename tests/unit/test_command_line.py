"""The frame of the command line: help pages, errors of usage, colours, and completion in shells."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workbench import REPOSITORY
from worker.tools.cli.main import VERBS, app, main

ALL = [verb for verbs in VERBS.values() for verb in verbs]


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The help page of a command."""
    main([*command, "--help"])
    return capsys.readouterr().out


def test_help_groups_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of VERBS, each verb once."""
    titles = re.findall(r"^╭─ (.+?) ─", page := help_of(capsys), re.MULTILINE)
    assert titles == [*VERBS, "Options"]
    assert [verb for verb in re.findall(r"^│ ([a-z-]+)  ", page, re.MULTILINE) if verb != "--version"] == ALL
    assert set(ALL) == {name for name in app if not name.startswith("-")}


@pytest.mark.parametrize("verb", ALL)
def test_help_shows_no_empty_default(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither `[default: ()]` nor that of a flag."""
    assert not re.search(r"default: *\W*(\(\)|False|True|\"\"|None)", help_of(capsys, verb))


def test_paragraphs_wrap(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines end where the terminal ends, not where they end in the code; an example stays in one line."""
    monkeypatch.setenv("COLUMNS", "60")
    page = help_of(capsys, "lanes", "recover").split("╭")[0].split("\n\n")
    assert page[2].splitlines() == [
        "Load the catalogue first: no topic holds companies, or",
        "revocations of keys. Without --execute it only says what it",
        "would do, and what prevents it. If it is interrupted, run it",
        "again.",
    ]
    assert "\n  passport-worker catalogue load catalogue.yaml --dry-run" in help_of(capsys, "catalogue", "load")


@pytest.mark.parametrize(
    ("command", "error", "page"),
    [
        (("lanes", "--jsn"), "Unknown option: --jsn. Did you mean --json?", "passport-worker lanes --help"),
        (("keys", "list", "--nosuch"), "Unknown option: --nosuch.", "passport-worker keys list --help"),
        (("keys", "list", "EuroBat"), "Unexpected argument: EuroBat.", "passport-worker keys list --help"),
        (("keys", "lst"), 'Unknown command "lst". Did you mean "list"?', "passport-worker keys --help"),
        (("nosuch",), 'Unknown command "nosuch".', "passport-worker --help"),
    ],
)
def test_error_of_usage_names_the_help_of_its_verb(
    command: tuple[str, ...], error: str, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page that lists what is there."""
    with pytest.raises(SystemExit) as ended:
        main(list(command))
    first, last = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert first.startswith(f"passport-worker: {error}")
    assert last == f"Try `{page}`."


@pytest.mark.parametrize("arguments", [["--no-color", "lanes", "--help"], ["lanes", "--help", "--no-color"]])
def test_no_color_is_an_option_of_every_verb(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wins over FORCE_COLOR, as NO_COLOR does."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = re.compile("\x1b\\[[0-9;]*3[0-9]")
    assert coloured.search(help_of(capsys, "lanes"))
    monkeypatch.setenv("NO_COLOR", "")
    main(arguments)
    assert not coloured.search(capsys.readouterr().out)
    assert os.environ["NO_COLOR"] == "1"


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verbs, verbs of verbs, options and values, by the script that the verb prints."""
    main(["completion", "bash"])
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)

    def completed(*words: str) -> set[str]:
        ask = (
            f"source {script}; COMP_WORDS=(passport-worker {' '.join(words)} ''); COMP_CWORD={len(words) + 1}; "
            '_passport_worker passport-worker "" ""; echo "${COMPREPLY[@]}"'
        )
        return set(subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split())

    assert completed() == set(ALL)
    assert completed("lanes") >= {"recover", "reset"}
    assert completed("lanes", "recover", "--allow") == {"original-missing", "channel-not-served"}
    assert completed("completion") == {"bash", "fish", "zsh"}


@pytest.mark.parametrize(("shell", "start"), [("zsh", "#compdef passport-worker\n"), ("fish", "# Fish completion")])
def test_scripts_of_other_shells(shell: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They name all verbs."""
    main(["completion", shell])
    script = capsys.readouterr().out
    assert script.startswith(start)
    assert all(verb in script for verb in ALL)


def test_completion_is_installed_for_the_user(tmp_path: Path) -> None:
    """Where bash looks for it, and told."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "completion", "bash", "--install"],
        cwd=REPOSITORY, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    script = tmp_path / ".local/share/bash-completion/completions/passport-worker"
    assert done.stdout == f"installed {script}; start a new shell to use it\n"
    assert "_passport_worker" in script.read_text()


def _run_into(stdout: str, *command: str) -> tuple[int, str]:
    """Run a command in a shell with this redirection; returns its exit code and stderr.

    Python buffers the output, as it does for users.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = f"{sys.executable} -m worker {' '.join(command)} {stdout}"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("command", [("--version",), ("settings", "--json")], ids=["small", "large"])
def test_a_reader_that_goes_is_no_error_to_print(command: tuple[str, ...]) -> None:
    """The exit code is a documented one; Python's own flush would print a traceback, and exit with 120."""
    assert _run_into("| true", *command) == (1, "")


def test_a_public_key_that_nobody_got_is_made_again(tmp_path: Path) -> None:
    """The file is there, and its line cannot be printed a second time."""
    code, said = _run_into("| true", "keys", "generate", str(tmp_path / "key.pem"))
    assert code == 1
    assert said.endswith("Delete it, and run this again.\n")


@pytest.mark.parametrize("command", [("--version",), ("settings",), ("settings", "--json")])
@pytest.mark.parametrize(
    ("stdout", "why"),
    [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
    ids=["full", "closed"],
)
def test_output_that_cannot_be_written_is_an_error(command: tuple[str, ...], stdout: str, why: str) -> None:
    """A stream that the caller has closed, too: a report that nobody gets is no success."""
    said = f"passport-worker: cannot write the output: {why}. What the command changed before stays changed.\n"
    assert _run_into(stdout, *command) == (1, said)


def test_a_closed_stderr_takes_no_line_into_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    """Python prints on stdout what goes to a stderr that is closed."""
    line = f"PASSPORT_NOSUCH=1 {sys.executable} -m worker settings --json 2>&-"
    assert subprocess.run(["bash", "-c", line], cwd=REPOSITORY).returncode == 0
    assert capfd.readouterr().out.startswith("{")


LATE, EARLY = "2026-11-27T00:00:00Z", "2026-11-26T00:00:00Z"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("audit --from 5 --to 3", "--to: expected an end that is not before --from 5, got 3"),
        (f"replay --from {LATE} --to {EARLY}", f"--to: expected an end that is not before --from {LATE}, got {EARLY}"),
        ("dead-letters list --from 9 --to 3", "--to: expected an end that is not before --from 9, got 3"),
        ("replay --rate=-1", "--rate: expected a number of at least 0, got -1"),
        ("audit --rate nan", "--rate: expected a number of at least 0, got nan"),
        ("audit --patience nan", "--patience: expected a number of at least 0, got nan"),
        ("replay --passport 6650", "--passport: expected 24 hexadecimal digits, got '6650'"),
    ],
)
def test_options_that_can_choose_nothing_are_bad_usage(
    command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the pen would end with `Promise kept: 0 commands`, or with `No answer matches`."""
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert (ended.value.code, capsys.readouterr().err) == (2, f"passport-worker: {said}\n")


def test_settings_have_no_opposite_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """As all verbs that have --json."""
    assert "--no-json" not in help_of(capsys, "settings")
