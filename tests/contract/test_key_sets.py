"""The key set of an authorization server that workers keep in Postgres: whose it is, and what is in its row."""

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.oauth_builders import Clock, jwk, key_set
from worker.auth import jwks
from worker.auth.jwks import JwksSource
from worker.auth.key_set import public_key_set
from worker.store.key_sets import KeptKeySet
from worker.store.postgres import PostgresStore

ISSUER, URL = "https://login.example.eu/", "https://127.0.0.1:9/jwks.json"
KEYS = public_key_set(key_set(*(jwk(ec.generate_private_key(ec.SECP256R1()), name) for name in ("one", "\0\ud800"))))


async def test_a_key_set_comes_back_as_it_was_kept(postgres: PostgresStore) -> None:
    """The last one, whatever characters a key's id has; and that of another issuer or address is another one."""
    kept = KeptKeySet(postgres, ISSUER, URL)
    assert await kept.load() is None
    for document in (KEYS, public_key_set(key_set()), KEYS):
        await kept.save(document)
        assert await KeptKeySet(postgres, ISSUER, URL).load() == document
    assert await KeptKeySet(postgres, "https://other.example/", URL).load() is None
    assert await KeptKeySet(postgres, ISSUER, f"{URL}/2").load() is None


@pytest.mark.parametrize(
    "url",
    [
        "https://w:hunter2@keys.example.eu/jwks",
        "HTTPS://hunter2@keys.example.eu/jwks?token=hunter2",
        "https://keys.example.eu/jwks#hunter2\nhunter2",
        "http://w:hunter2@:bad",
        "http://[hunter2@",
    ],
)
async def test_no_password_gets_into_the_row(postgres: PostgresStore, furnished_url: str, url: str) -> None:
    """An address may hold one, in its front or in its query."""
    await KeptKeySet(postgres, f"of {url[-9:]}", url).save(KEYS)
    assert await KeptKeySet(postgres, f"of {url[-9:]}", url).load() == KEYS
    connection = await asyncpg.connect(furnished_url)
    try:
        rows = await connection.fetch("SELECT location FROM oauth_key_set")
    finally:
        await connection.close()
    assert "hunter2" not in str(rows)


async def test_a_worker_starts_with_the_keys_of_another_while_the_server_is_away(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the address; what was kept by one process is known to the next."""
    monkeypatch.setattr(jwks, "PATIENCE_SECONDS", 10.0)
    kept = KeptKeySet(postgres, "a start", URL)
    await kept.save(KEYS)
    source = JwksSource(URL, Clock(), kept=kept)
    assert await source.key("one") is not None
    assert await source.key("\0\ud800") is not None
