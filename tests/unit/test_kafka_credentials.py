"""What clients show to brokers, as its files have it when they connect."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.infrastructure.certificates import Authority
from worker.settings import Settings
from worker.stream.cluster.connection import client_options
from worker.stream.cluster.credentials import Refused, with_present_credentials

SASL = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "w"}
OAUTH = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}
ENDPOINT = {"kafka_oauth_token_url": "https://login.example/token", "kafka_oauth_client_id": "w"}


async def _shown(settings: Settings) -> dict[str, Any]:
    return await with_present_credentials(client_options(settings))


async def test_a_password_is_that_of_its_file(tmp_path: Path) -> None:
    """At each connection; a missing file is a refusal that names the setting."""
    file = tmp_path / "password"
    file.write_text("first\n")
    settings = Settings(**SASL, kafka_sasl_password_file=str(file))  # type: ignore[arg-type]
    options = client_options(settings)
    assert (await with_present_credentials(options))["sasl_plain_password"] == "first"
    file.write_text("second\n")
    assert (await with_present_credentials(options))["sasl_plain_password"] == "second"
    file.unlink()
    with pytest.raises(Refused, match="PASSPORT_KAFKA_SASL_PASSWORD_FILE: expected a file that can be read"):
        await with_present_credentials(options)


async def test_a_token_is_that_of_its_file(tmp_path: Path) -> None:
    """As Kubernetes renews it."""
    file = tmp_path / "token"
    file.write_text("first")
    settings = Settings(**OAUTH, kafka_oauth_token_file=str(file))  # type: ignore[arg-type]
    assert await (await _shown(settings))["sasl_oauth_token_provider"].token() == "first"
    file.write_text("second")
    assert await (await _shown(settings))["sasl_oauth_token_provider"].token() == "second"


async def test_certificates_are_those_of_their_files(tmp_path: Path) -> None:
    """One context serves until a file changes. One that does not fit its key is refused, until it does."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("one")
    files = {"kafka_ssl_cafile": authority.file, "kafka_ssl_certfile": certificate, "kafka_ssl_keyfile": key}
    settings = Settings(kafka_security_protocol="SSL", **{name: str(file) for name, file in files.items()})  # type: ignore[arg-type]
    first = (await _shown(settings))["ssl_context"]
    assert (await _shown(settings))["ssl_context"] is first
    known = first.get_ca_certs()
    other = Authority(tmp_path, "other")
    shutil.copy(other.file, authority.file)
    changed = (await _shown(settings))["ssl_context"]
    assert changed.get_ca_certs() != known
    shutil.copy(other.issue("two")[0], certificate)
    with pytest.raises(Refused, match=r"the files of PASSPORT_KAFKA_SSL_\* cannot be read: SSLError"):
        await _shown(settings)
    shutil.copy(tmp_path / "two.key", key)
    assert (await _shown(settings))["ssl_context"] is not changed


def _problems(**values: str) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        Settings(**values)  # type: ignore[arg-type]
    return {str(error["loc"][0]): error["msg"] for error in refused.value.errors()}


def test_oauthbearer_needs_one_source_of_tokens(tmp_path: Path) -> None:
    """A file or an endpoint, with all that an endpoint needs; a user and a password are not asked for."""
    (tmp_path / "x").write_text("x")
    file = str(tmp_path / "x")
    either = "expected with OAUTHBEARER: either this or PASSPORT_KAFKA_OAUTH_TOKEN_URL"
    assert _problems(**OAUTH) == {"kafka_oauth_token_file": either}
    assert _problems(**OAUTH, **ENDPOINT, kafka_oauth_token_file=file) == {"kafka_oauth_token_file": either}
    beside = "expected with PASSPORT_KAFKA_OAUTH_TOKEN_URL"
    assert _problems(**OAUTH, **ENDPOINT) == {"kafka_oauth_client_secret_file": beside}
    assert Settings(**OAUTH, **ENDPOINT, kafka_oauth_client_secret_file=file)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["http://login.example/token", "login.example", "https://", "https://w:hunter2@login.example", "ftp://[::1]"]
)
def test_a_clients_secret_goes_over_https_alone(url: str) -> None:
    """Or over loopback, to a helper on the same machine."""
    told = _problems(kafka_oauth_token_url=url)["kafka_oauth_token_url"]
    assert told == "expected an https URL without a user (http only to this machine's loopback)"
    assert Settings(kafka_oauth_token_url="http://127.0.0.1:8181/token")
