"""Who acts is stored with each change: the name that was given, or else a user, or else an honest description."""

import pwd
import re
import socket

import pytest

from worker.tools.cli.asking import ActOptions, AuthorOptions
from worker.tools.cli.errors import BadUsage
from worker.tools.common.journal import Author

HOST = socket.gethostname()
OF_THE_IMAGE = pwd.struct_passwd(("worker", "x", 10001, 10001, "", "/nonexistent", "/usr/sbin/nologin"))
OF_A_PERSON = pwd.struct_passwd(("anna", "x", 1000, 1000, "", "/home/anna", "/bin/bash"))


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A person on a machine, who has set nothing."""
    for variable in ("PASSPORT_OPERATOR", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PASSPORT_DATABASE_URL", "postgresql://worker@localhost/passports")
    monkeypatch.setattr("os.getuid", lambda: 10001)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: OF_A_PERSON)
    return monkeypatch


def test_the_option_goes_before_the_setting_and_the_setting_before_the_user(user: pytest.MonkeyPatch) -> None:
    """A name that was given stands alone; a user stands with the host."""
    assert AuthorOptions().author() == Author(f"anna@{HOST}", "")
    user.setenv("PASSPORT_OPERATOR", "on call ")
    assert AuthorOptions(reason="a leak").author() == Author("on call", "a leak")
    assert AuthorOptions(by="Ben").author() == Author("Ben", "")


@pytest.mark.parametrize("account", ["no login", "no name"])
def test_a_pod_has_no_person(user: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], account: str) -> None:
    """Seen to fail before: a user id without a name ended the verb with a KeyError."""

    def of_no_name(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    user.setattr("pwd.getpwuid", of_no_name if account == "no name" else lambda uid: OF_THE_IMAGE)
    assert AuthorOptions().author().name == f"uid 10001@{HOST}"
    assert capsys.readouterr().err == (
        "passport-worker: warning: the user of this process names no person, so the change is stored as made by "
        f"uid 10001@{HOST}. Say who acts with --by NAME, or with PASSPORT_OPERATOR.\n"
    )
    assert AuthorOptions(by="anna").author().name == "anna"
    assert capsys.readouterr().err == ""


def test_a_service_that_names_its_user_has_named_it(user: pytest.MonkeyPatch) -> None:
    """A variable that somebody set goes before the account."""
    user.setattr("pwd.getpwuid", lambda uid: OF_THE_IMAGE)
    user.setenv("USER", "anna")
    assert AuthorOptions().author().name == f"anna@{HOST}"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\ud800"])
def test_a_name_is_a_line(name: str) -> None:
    """It is shown in tables."""
    with pytest.raises(BadUsage, match=re.escape("--by: expected a name, without control characters")):
        AuthorOptions(by=name).author()


def test_nothing_is_done_without_execute_and_nothing_without_a_reason() -> None:
    """The API keys that a reason names are not stored."""
    assert ActOptions(reason="x").author_if_executed() is None
    for reason in (None, " "):
        with pytest.raises(BadUsage, match="--execute: expected --reason TEXT with it"):
            ActOptions(reason=reason, execute=True).author_if_executed()
    author = ActOptions(reason="tp_0123456789abcdef leaked", by="anna", execute=True).author_if_executed()
    assert author == Author("anna", "tp_… leaked")
