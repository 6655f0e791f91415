"""Who gets into the console: by a signed token with a role, by a proxy's header, and where each of them counts."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives.asymmetric import ec
from multidict import CIMultiDict
from pydantic import ValidationError

from tests.unit.oauth_builders import AUDIENCE, ISSUER, jwk, key_set, token
from worker.auth import jwks
from worker.settings import Settings
from worker.tools.cli.errors import BadUsage
from worker.tools.console import door, guard
from worker.tools.console.door import NamedByProxy, OpenDoor, Reader, Refused, SignedByIssuer, door_of

KEY = ec.generate_private_key(ec.SECP256R1())
SECRET = "a secret that two programs share"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no slow key server."""
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 10.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a worker that takes tokens of this issuer, too: the console believes the same one."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(jwk(KEY, "ec")))
    return Settings(oauth_jwks=str(path), oauth_issuer=ISSUER, oauth_audience=AUDIENCE)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The file of the setting."""
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def signed(*, roles: object = ("support",), seconds: float = 600, type_: object = "at+jwt", **changes: object) -> str:
    """A person's token, signed by the issuer."""
    claims: dict[str, object] = {"company_id": None, "scope": None, "sub": "4711", "email": "ann@example.com"}
    claims |= {"roles": list(roles) if isinstance(roles, tuple) else roles, "exp": time.time() + seconds}
    return token(KEY, "ES256", "ec", type_=type_, **{**claims, **changes})


def _request(*headers: tuple[str, str], peer: str = "10.1.2.3", path: str = "/") -> web.Request:
    return make_mocked_request("GET", path, CIMultiDict(headers)).clone(remote=peer)


async def _asked(settings: Settings, value: str, path: str = "/", header: str = "Authorization") -> Reader | Refused:
    entrance = guard.Guard((), SignedByIssuer(settings, header))
    return await entrance.reader(_request(("Host", "localhost"), (header, value), path=path))


@pytest.mark.parametrize(
    ("header", "value"),
    [("Authorization", "Bearer {}"), ("Authorization", "bearer  {}"), ("X-Forwarded-Access-Token", "{}")],
)
async def test_a_signed_token_opens_the_console(settings: Settings, header: str, value: str) -> None:
    """The commands' issuer, audience and keys are believed, in the header that a setting names."""
    assert await _asked(settings, value.format(signed()), "/explain", header) == Reader(
        "ann@example.com", "support", "4711"
    )


@pytest.mark.parametrize(
    ("roles", "held"),
    [
        (("support",), "support"),
        (("viewer", "support"), "support"),
        ("openid support", "support"),
        (("viewer",), "viewer"),
        ("viewer", "viewer"),
        ((), None),
        ("supporters", None),
        (("Support",), None),
        (("support", 7), None),
        ({"support": True}, None),
        (True, None),
        (None, None),
    ],
    ids=str,
)
async def test_the_claim_says_the_role(settings: Settings, roles: object, held: str | None) -> None:
    """A viewer sees lanes and counts, support sees everything, and no claim of another shape is a role."""
    for path in ("/", "/api/lanes", "/explain", "/company/x", "/dead-letters", "/api/quota", "/static", "//", "/new"):
        answer = await _asked(settings, f"Bearer {signed(roles=roles)}", path)
        needed = "viewer" if path in ("/", "/api/lanes") else "support"
        if held in ("support", needed):
            assert answer == Reader("ann@example.com", held, "4711"), path  # type: ignore[arg-type]
        else:
            assert isinstance(answer, Refused)
            assert answer.status == 403
            assert f"needs the role `{needed}` in the claim `roles` of your token" in answer.text
            assert answer.reader == Reader("ann@example.com", held, "4711")  # type: ignore[arg-type]


async def test_issuers_name_claims_and_roles_as_they_like(settings: Settings) -> None:
    """A 403 says the names of this installation."""
    own = {"console_roles_claim": "groups", "console_viewer_role": "g-1", "console_support_role": "g-2"}
    changed = settings.model_copy(update=own)
    assert isinstance(await _asked(changed, f"Bearer {signed(roles=(), groups=['g-2'])}", "/explain"), Reader)
    refused = await _asked(changed, f"Bearer {signed(groups=['g-1'])}", "/explain")
    assert isinstance(refused, Refused)
    assert "needs the role `g-2` in the claim `groups` of your token. You have the role `g-1`." in refused.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://evil.example"}, "not signed by this console's issuer for its audience"),
        ({"aud": "others"}, "not signed by"),
        ({"exp": None}, "not signed by"),
        ({"sub": None}, "not signed by"),
        ({"sub": " "}, "not signed by"),
        ({"sub": 7}, "not signed by"),
        ({"seconds": -1}, "expired"),
        ({"nbf": 33_000_000_000}, "not valid yet"),
        ({"type_": "JWT"}, "PASSPORT_CONSOLE_ALLOW_ANY_TYP=true"),
        ({"type_": None}, "PASSPORT_CONSOLE_ALLOW_ANY_TYP=true"),
    ],
    ids=str,
)
async def test_other_tokens_open_nothing(settings: Settings, changes: dict[str, Any], said: str) -> None:
    """And the page says why."""
    refused = await _asked(settings, f"Bearer {signed(**changes)}")
    assert isinstance(refused, Refused)
    assert (refused.status, said in refused.text, refused.reader) == (401, True, None), refused


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YW5uOg==", "ann", "Bearer a.b.c", "Bearer é"])
async def test_what_is_no_token_opens_nothing(settings: Settings, value: str) -> None:
    """Whatever stands in the header."""
    refused = await _asked(settings, value)
    assert isinstance(refused, Refused)
    assert refused.status == 401


async def test_a_token_of_another_key_opens_nothing(settings: Settings) -> None:
    """Under the same key id."""
    forged = token(ec.generate_private_key(ec.SECP256R1()), "ES256", "ec", sub="1", roles=["support"])
    refused = await _asked(settings, f"Bearer {forged}")
    assert isinstance(refused, Refused)
    assert refused.status == 401


@pytest.mark.parametrize("count", [0, 2])
async def test_the_token_comes_once(settings: Settings, count: int) -> None:
    """A proxy that adds its header behind a browser's lets the browser choose; a user header is none."""
    headers = [("Authorization", f"Bearer {signed()}")] * count + [("X-Forwarded-User", "ann")]
    refused = await SignedByIssuer(settings, "Authorization").reader(_request(*headers, peer="127.0.0.1"), "viewer")
    assert isinstance(refused, Refused)
    assert (refused.status, "belongs in Authorization" in refused.text) == (401, True)


@pytest.mark.parametrize(
    ("for_console", "for_commands", "passes"), [(None, True, True), (True, False, True), (False, True, False)]
)
async def test_id_tokens_pass_where_a_setting_says_so(
    settings: Settings, for_console: bool | None, for_commands: bool, passes: bool
) -> None:
    """`oauth2-proxy` sends them; the console's own setting goes before that of commands."""
    own = {"console_allow_any_typ": for_console, "oauth_allow_any_typ": for_commands}
    answer = await _asked(settings.model_copy(update=own), f"Bearer {signed(type_='JWT')}")
    assert isinstance(answer, Reader) is passes


async def test_the_console_may_have_an_issuer_of_its_own(settings: Settings, tmp_path: Path) -> None:
    """Then tokens of commands open nothing."""
    path = tmp_path / "own.json"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key_set(jwk(key, "ec")))
    own = {"console_jwks": str(path), "console_issuer": "https://staff", "console_audience": "console"}
    changed = settings.model_copy(update=own)
    claims = {"iss": "https://staff", "aud": "console", "sub": "1", "roles": "viewer", "exp": time.time() + 60}
    assert await _asked(changed, f"Bearer {token(key, 'ES256', 'ec', **claims)}") == Reader("1", "viewer", "1")
    assert isinstance(await _asked(changed, f"Bearer {signed()}"), Refused)


async def test_while_the_keys_are_away_nobody_gets_in(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so (503), and the next request is good when the keys are there."""
    monkeypatch.setattr(door, "KEYS_SECONDS", 0.1)
    monkeypatch.setattr(jwks, "FAILED_SECONDS", 0.0)
    path = tmp_path / "jwks.json"
    document = path.read_bytes()
    path.unlink()
    entrance = SignedByIssuer(settings, "Authorization")
    request = _request(("Authorization", f"Bearer {signed()}"))
    refused = await entrance.reader(request, "viewer")
    assert isinstance(refused, Refused)
    assert (refused.status, "Try again" in refused.text) == (503, True)
    path.write_bytes(document)
    assert isinstance(await entrance.reader(request, "viewer"), Reader)


@pytest.mark.parametrize(
    ("peer", "sent", "passes"),
    [
        ("127.0.0.1", (), True),
        ("127.8.0.1", (), True),
        ("::1", (), True),
        ("::ffff:127.0.0.1", (), True),
        ("10.1.2.3", (), False),
        ("", (), False),
        ("10.1.2.3", (SECRET,), True),
        ("10.1.2.3", (SECRET, SECRET), False),
        ("10.1.2.3", (SECRET[:-1],), False),
        ("10.1.2.3", ("",), False),
        ("10.1.2.3", ("é",), False),
        ("127.0.0.1", ("wrong",), True),
    ],
)
async def test_a_bare_header_counts_from_loopback_or_with_the_secret(
    peer: str, sent: tuple[str, ...], passes: bool, secret_file: Path
) -> None:
    """Seen to count from any peer."""
    headers = [("X-User", "ann"), *(("X-Proxy-Secret", text) for text in sent), ("X-Forwarded-For", "127.0.0.1")]
    answer = await NamedByProxy("X-User", str(secret_file)).reader(_request(*headers, peer=peer), "support")
    assert isinstance(answer, Reader) is passes
    if isinstance(answer, Refused):
        assert (answer.status, "PASSPORT_CONSOLE_PROXY_SECRET_FILE" in answer.text) == (401, True)


async def test_a_secret_changes_without_a_restart(secret_file: Path) -> None:
    """While it does, the file has both."""
    door = NamedByProxy("X-User", str(secret_file))
    old, new = (_request(("X-User", "ann"), ("X-Proxy-Secret", text)) for text in (SECRET, SECRET + " again"))
    empty = _request(("X-User", "ann"), ("X-Proxy-Secret", ""))
    for text, passing in (
        (SECRET, [True, False, False]),
        (f"{SECRET}\n\n{SECRET} again\n", [True, True, False]),
        (f"{SECRET} again\n", [False, True, False]),
    ):
        secret_file.write_text(text)  # noqa: ASYNC240
        answers = [await door.reader(request, "support") for request in (old, new, empty)]
        assert [isinstance(answer, Reader) for answer in answers] == passing


async def test_without_a_secret_none_is_right() -> None:
    """Also not an empty one."""
    for sent in ("", SECRET):
        request = _request(("X-User", "ann"), ("X-Proxy-Secret", sent))
        assert isinstance(await NamedByProxy("X-User").reader(request, "viewer"), Refused)


@pytest.mark.parametrize(
    ("host", "own", "user_header", "kind"),
    [
        ("127.0.0.1", {}, None, OpenDoor),
        ("::1", {}, None, OpenDoor),
        ("localhost", {}, None, OpenDoor),
        ("0.0.0.0", {}, None, SignedByIssuer),
        ("console.example.com", {}, None, SignedByIssuer),
        ("127.0.0.1", {"console_token_header": "Authorization"}, None, SignedByIssuer),
        ("127.0.0.1", {}, "X-User", NamedByProxy),
        ("0.0.0.0", {}, "X-User", NamedByProxy),
    ],
)
def test_where_others_can_reach_it_somebody_proves_who_reads(
    settings: Settings, host: str, own: Mapping[str, str], user_header: str | None, kind: type[object]
) -> None:
    """A token by default; on loopback alone it stands open."""
    assert type(door_of(settings.model_copy(update=dict(own)), host, user_header)) is kind


def test_a_door_that_cannot_be_closed_is_bad_usage(settings: Settings) -> None:
    """The text names what is expected."""
    with pytest.raises(
        BadUsage, match="expected PASSPORT_CONSOLE_JWKS, PASSPORT_CONSOLE_ISSUER and PASSPORT_CONSOLE_A"
    ):
        door_of(Settings(), "0.0.0.0", None)
    with pytest.raises(BadUsage, match="--user-header: expected no PASSPORT_CONSOLE_TOKEN_HEADER"):
        door_of(settings.model_copy(update={"console_token_header": "X"}), "0.0.0.0", "X-User")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"console_jwks": "x"}, "console_issuer\n  expected with PASSPORT_CONSOLE_JWKS"),
        ({"console_jwks": "x"}, "console_audience\n  expected with PASSPORT_CONSOLE_JWKS"),
        ({"console_proxy_secret_file": "nowhere"}, "console_proxy_secret_file\n  expected a file that can be read"),
        ({"console_token_header": "X User"}, "console_token_header"),
        ({"console_roles_claim": ""}, "console_roles_claim"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], said: str) -> None:
    """As all others."""
    with pytest.raises(ValidationError) as refused:
        Settings(**values)
    assert said in str(refused.value)


def test_a_short_secret_is_none(secret_file: Path) -> None:
    """It could be guessed; and the message does not quote it."""
    secret_file.write_text(f"{SECRET}\nhunter2\n")
    with pytest.raises(ValidationError, match="expected 16 characters or more a line") as refused:
        Settings(console_proxy_secret_file=str(secret_file))
    assert "hunter2" not in str(refused.value)
