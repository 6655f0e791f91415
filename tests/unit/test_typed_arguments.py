"""What is typed behind the operators' verbs: good values as they are meant, bad ones refused with what was expected."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.tools.cli.errors import BadUsage
from worker.tools.cli.main import main
from worker.tools.cli.options import duration, object_id, timestamp
from worker.tools.keys.command_line import prefix_of
from worker.tools.keys.keys import new_key

COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
KEY = "tp_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"


def test_good_values() -> None:
    """Ids and hashes in lower case, times in UTC."""
    assert object_id("--passport", COMPANY.upper()) == COMPANY
    assert prefix_of("ABCDEF") == "abcdef"
    assert timestamp("--at", "2026-12-31T23:00:00+01:00") == datetime(2026, 12, 31, 22, tzinfo=UTC)
    for text, days in (("24h", 1.0), ("7d", 7.0), ("0s", 0.0), ("90m", 0.0625), ("366d", 366.0)):
        assert duration("--overlap", text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "24", "h", "1.5h", "-1h", "367d", "999999d", "1w", "٢h"])
def test_bad_durations(text: str) -> None:
    """Number and unit, at most a year."""
    with pytest.raises(BadUsage, match=r"^--overlap: expected a time such as 90m, 24h or 7d, at most 366d, got "):
        duration("--overlap", text)


@pytest.mark.parametrize("text", ["", "abcde", "a" * 65, "xyzxyz", KEY])
def test_bad_prefixes_are_not_repeated(text: str) -> None:
    """Somebody may have typed the key."""
    with pytest.raises(BadUsage) as caught:
        prefix_of(text)
    assert not text or text not in str(caught.value)


def test_a_new_key_is_new_and_does_not_show_itself() -> None:
    """32 random bytes in base64url without padding, 43 characters."""
    made = new_key()
    assert made.text != new_key().text
    assert (made.text[:3], len(made.text), made.text.isascii()) == ("tp_", 46, True)
    assert made.text not in repr(made)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("keys", "create", "--company", "x", "--label", "l", "--execute"),
            "--execute: expected --reason TEXT with it",
        ),
        (("keys", "create", "--company", COMPANY, "--label", " "), "--label: expected text of at least one character"),
        (
            ("keys", "create", "--company", COMPANY, "--label", "a\nb"),
            "--label: expected text of at least one character",
        ),
        (("keys", "create", "--company", COMPANY, "--label", KEY), "--label: expected text without an API key"),
        (("keys", "create", "--company", COMPANY), "--label"),
        (("keys", "revoke", KEY), "HASHPREFIX: expected 6 to 64 hexadecimal digits"),
        (("keys", "revoke", "abcdef", "--at", "tomorrow"), "--at: expected a time such as 2026-11-26T08:00:00Z"),
        (("keys", "revoke", "abcdef", "--at", "2026-11-26T08:00:00"), "--at: expected a time such as"),
        (("lanes", "recover", "--search-from", "12"), "--search-from: expected a time such as 2026-11-26T08:00:00Z"),
        (("keys", "rotate", "abcde"), "HASHPREFIX: expected 6 to 64 hexadecimal digits"),
        (("keys", "rotate", "abcdef", "--overlap", "soon"), "--overlap: expected a time such as 90m, 24h or 7d"),
        (("catalogue", "load", "file.json", "--json"), "--json: expected --dry-run with it"),
        (("catalogue", "diff", "/nowhere.json"), "cannot read /nowhere.json: No such file or directory"),
        (("catalogue", "load", "/nowhere.json", "--dry-run"), "cannot read /nowhere.json: No such file or directory"),
        (("company", "export", COMPANY, "--after", "3/17"), "--after: expected the id of a passport (24 hexadecimal"),
        (("company", "close", COMPANY, "--execute"), "--execute: expected --reason TEXT with it"),
        (("quota", "show", "--near", "0"), "--near: expected a share above 0 and up to 1, such as 0.8, got 0.0"),
        (("quota", "show", "--near", "80"), "--near: expected a share above 0 and up to 1, such as 0.8, got 80.0"),
        (("quota", "show", "--near", "nan"), "--near: expected a share above 0 and up to 1, such as 0.8, got nan"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage(arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 before any server is asked; an API key is never repeated."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert told in said.err
    assert KEY not in said.err


@pytest.mark.parametrize(
    "command",
    [
        *(("keys", verb) for verb in ("create", "list", "revoke", "rotate")),
        *(("catalogue", verb) for verb in ("load", "diff", "export")),
        *(("company", verb) for verb in ("close", "export")),
        ("quota", "show"),
    ],
    ids=" ".join,
)
def test_help_ends_with_two_examples(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Of this very verb, a line each."""
    main([*command, "--help"])
    *_, title, first, second = capsys.readouterr().out.rstrip().splitlines()
    assert title == "Examples:"
    for example in (first, second):
        assert example.startswith(f"  passport-worker {' '.join(command)}")


@pytest.mark.parametrize("group", ["company", "keys", "quota"])
def test_a_missing_verb_shows_the_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And exits with 2."""
    with pytest.raises(SystemExit) as ended:
        main([group])
    assert ended.value.code == 2
    assert f"Usage: passport-worker {group}" in capsys.readouterr().out
