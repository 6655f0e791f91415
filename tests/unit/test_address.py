"""The URL of the database: what is wrong is said, and never a word of what may be a password."""

from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.settings import Settings
from worker.store.address import parsed, problem_of
from worker.tools.cli.main import _bad_settings

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of whoever runs the tests do not count."""
    for name in ("PGHOST", "PGPORT", "PGSERVICE", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/passports",
        "postgres://u@h",
        f"postgresql://u:{SECRET}@h:5432/x?application_name=a&options=-c%20work_mem%3D8MB",
        f"postgresql://u:{SECRET}:{SECRET}@h1:1,h2:2/x?target_session_attrs=read-write",
        f"postgresql://u:{SECRET}%2F%23%40%3A%3F%25@[::1]:5432/x?sslmode=require",
        f"postgresql:///x?host=/var/run/postgresql&user=u&password={SECRET}",
        "postgresql://u@%2Fvar%2Frun%2Fpostgresql/x",
        "postgresql://u@h/x?sslmode=verify-full&sslrootcert=/mounted/later/ca.crt",
    ],
)
def test_good_urls_pass(url: str) -> None:
    """What the driver can use, sockets and several hosts included."""
    assert problem_of(url) is None


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (f"mysql://u:{SECRET}@h/x", "starts with postgresql://"),
        (f"u:{SECRET}@h/x", "starts with postgresql://"),
        (f"postgresql://u:{SECRET}@:badport/x", "found a port that is no number"),
        (f"postgresql://u:{SECRET}@h:badport/x", "found a port that is no number"),
        (f"postgresql://u:{SECRET}@h:99999/x", "found a port that is not from 1 to 65535"),
        (f"postgresql://u:a/{SECRET}@h/x", "found an @ that does not stand between"),
        (f"postgresql://u:12/{SECRET}@h/x", "found an @ that does not stand between"),
        (f"postgresql://u:12?{SECRET}@h/x", "found an @ that does not stand between"),
        (f"postgresql://u:12?{SECRET}=1@h/x", "found an @ that does not stand between"),
        (f"postgresql://u:a@{SECRET}@h/x", "found an @ that does not stand between"),
        (f"postgresql://u:12#{SECRET}@h/x", "found a #"),
        (f"postgresql://u:%{SECRET}@h/x", "found a % without two hexadecimal digits"),
        (f"postgresql://u:a {SECRET}@h/x", "found white space"),
        (f"postgresql://u:a\n{SECRET}@h/x", "found white space"),
        (f"postgresql://u:[{SECRET}@h/x", "[ as %5B"),
        (f"postgresql://u:{SECRET}@/x", "found no host"),
        (f"postgresql://u:{SECRET}@:5432/x", "found no host"),
        ("postgresql://", "found no host"),
        (f"postgresql://u:{SECRET}@h/x?connect_timeout=3", "expected no other parameters than application_name, "),
        (f"postgresql://h/x?pasword={SECRET}", "expected no other parameters than"),
        (f"postgresql://h/x?password=a&{SECRET}", "expected no other parameters than"),
        (f"postgresql://u:{SECRET}@h/x?sslmode=always", "`sslmode` parameter must be one of"),
        (f"postgresql://u:{SECRET}\u2100@h/x", "found ValueError"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_quoted(url: str, found: str) -> None:
    """Seen to fail without `problem_of`: such a URL was taken, and what failed later quoted parts of it."""
    problem = problem_of(url) or ""
    assert found in problem
    assert SECRET not in problem
    with pytest.raises(ValidationError) as caught:
        Settings(database_url=url)
    assert _bad_settings(caught.value) == f"bad settings:\n  PASSPORT_DATABASE_URL: {problem}"
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_a_host_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for psql."""
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert problem_of("postgresql:///passports") is None


_PIECES = st.sampled_from(
    ["/", "#", "@", "%", "?", ":", "[", "]", "&", "=", " ", ",", "+", "%4", "%41", "12", "é", "\\"]
)
_URLS = st.sampled_from(
    [
        "postgresql://u:{}@h:5432/x",
        "postgresql://u:{}@h/x?sslmode=disable",
        "postgresql://u:{}@h:bad/x",
        "postgresql://u:{}@/x",
        "postgresql://h/x?user=u&password={}",
        "postgresql://h/x?pasword={}",
        "postgresql://{}@h/x",
    ]
)


@given(st.lists(_PIECES, max_size=4).map("".join), st.lists(_PIECES, max_size=3).map("".join), _URLS)
@example("12/", "", "postgresql://u:{}@h:5432/x")
@example("12#", "@", "postgresql://u:{}@h:5432/x")
def test_no_raw_password_is_quoted_or_taken_for_something_else(before: str, behind: str, shape: str) -> None:
    """Either it is refused without a word of it, or the driver takes all of it for the password, or the user."""
    secret = f"{before}s3cr3t{behind}"
    url = shape.format(secret)
    problem = problem_of(url)
    if problem is not None:
        assert "s3cr3t" not in problem
        return
    addresses, parameters = parsed(url)
    assert [host for host, _ in addresses] == ["h"]
    assert "s3cr3t" in (f"{parameters.user}:" if shape.startswith("postgresql://{}") else "") + str(parameters.password)
    assert "s3cr3t" not in f"{parameters.database} {parameters.server_settings}"


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12))
def test_an_encoded_password_is_the_password(password: str) -> None:
    """Whatever it holds."""
    url = f"postgresql://u:{quote(password, safe='')}@h/x"
    assert problem_of(url) is None
    assert parsed(url)[1].password == password == unquote(quote(password))
