"""Signing keys in the catalogue: loaded, kept where a file is silent, and looked up as a worker does it."""

import json
from typing import Any

import asyncpg
import pytest

from tests.unit.builders import NOW_MS
from tests.unit.builders import command as bearer
from tests.unit.signing_builders import P_256, RFC_8037, jws, key_id, signed
from worker.domain.catalogue import SigningKey
from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.messages.envelope import Limits, open_envelope
from worker.store.database import Database
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.catalogue.file import CatalogueError, parse_catalogue
from worker.tools.common.jwk import members_of

COMPANY, OTHER = "6650a0b1c2d3e4f5a6b7c8d9", "6650a0b1c2d3e4f5a6b7c8da"
PLAN = {"id": "growth", "maxDpps": 100, "overagePriceCents": 75, "maxV1WritesPerDay": 200}
JWK, EC_JWK = members_of(RFC_8037.public_key()), members_of(P_256.public_key())
KID = key_id(RFC_8037)


async def _load(connection: Connection, *keys: object, company_id: str = COMPANY, **fields: object) -> None:
    company = {"_id": company_id, "name": "EuroBat", "plan": "growth", "subscription": "active", **fields}
    if keys:
        company["signingKeys"] = keys
    await load_catalogue(connection, parse_catalogue(json.dumps({"plans": [PLAN], "companies": [company]})))


async def _keys(connection: Connection) -> list[tuple[Any, ...]]:
    rows = await connection.fetch("SELECT kid, company_id, label, not_before, revoked_at FROM signing_key ORDER BY kid")
    return [(*tuple(row)[:3], *(at and at.isoformat() for at in tuple(row)[3:])) for row in rows]


async def _look_up(database_url: str, *commands: Command) -> Facts:
    store = PostgresStore(Database(database_url), 1)
    try:
        return await store.look_up(commands, 1_000_000)
    finally:
        await store.close()


def _signed(header: str) -> Command:
    return open_envelope(signed(header), Limits()).command


async def test_what_a_file_leaves_out_stays(connection: Connection) -> None:
    """Key by key and field by field; an explicit null takes back what was said."""
    told = {"label": "mes", "notBefore": "2026-01-01T00:00:00Z", "revokedAt": "2027-01-01T00:00:00Z"}
    kept = (KID, COMPANY, "mes", "2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00")
    await _load(connection, {"jwk": JWK, **told})
    assert await _keys(connection) == [kept]
    await _load(connection)
    await _load(connection, {"jwk": JWK})
    assert await _keys(connection) == [kept]
    await _load(connection, {"jwk": JWK, "label": "", "notBefore": None})
    assert await _keys(connection) == [(KID, COMPANY, "", None, kept[4])]
    await _load(connection, {"jwk": {**JWK, "kid": KID, "alg": "EdDSA", "use": "sig"}, "revokedAt": None})
    assert await _keys(connection) == [(KID, COMPANY, "", None, None)]


async def test_signatures_stay_required_where_a_file_is_silent(connection: Connection) -> None:
    """An old file must not let bearer secrets in again."""

    async def required() -> object:
        at = await connection.fetchval("SELECT signatures_required_from FROM company")
        return at and at.isoformat()

    await _load(connection)
    assert await required() is None
    await _load(connection, signaturesRequiredFrom="2026-05-09T12:00:00+02:00")
    await _load(connection)
    assert await required() == "2026-05-09T10:00:00+00:00"
    await _load(connection, signaturesRequiredFrom=None)
    assert await required() is None


async def test_a_key_does_not_change_its_company(connection: Connection) -> None:
    """Told by its path; nothing is changed."""
    await _load(connection, {"jwk": JWK})
    with pytest.raises(CatalogueError) as caught:
        await _load(connection, {"jwk": EC_JWK}, {"jwk": JWK}, company_id=OTHER)
    assert caught.value.problems == [
        "companies[0].signingKeys[1]: Expected a key of this company, got one that belongs to another company"
    ]
    assert [row[1] for row in await _keys(connection)] == [COMPANY]


async def test_the_look_up_brings_keys_with_their_companies(connection: Connection, database_url: str) -> None:
    """Moments in milliseconds, rounded up; whatever a key id says, it does no harm."""
    moments = {"notBefore": "2026-05-09T10:00:00.0005Z", "revokedAt": "2026-05-09T10:00:00.001Z"}
    await _load(connection, {"jwk": JWK, **moments}, {"jwk": EC_JWK}, signaturesRequiredFrom="2026-05-09T10:00:00Z")
    hostile = [_signed(jws(kid=text)) for text in ("", "\x00" * 43, "é" * 43, "x" * 43, "x" * 44)]
    facts = await _look_up(database_url, _signed(jws()), _signed(jws(key=P_256)), *hostile, bearer())
    assert facts.signing_keys.keys() == {KID, key_id(P_256)}
    assert facts.signing_keys[KID] == SigningKey(COMPANY, json.dumps(JWK), NOW_MS + 1, NOW_MS + 1)
    assert facts.signing_keys[key_id(P_256)] == SigningKey(COMPANY, json.dumps(EC_JWK), None, None)
    assert facts.companies[COMPANY].signatures_required_ms == NOW_MS


async def test_bearer_commands_ask_for_no_signing_keys(
    connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one question more than without them; a signed command asks one, and not for API keys."""
    asked: list[str] = []
    fetch = asyncpg.Connection.fetch

    async def noted(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        return await fetch(self, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "fetch", noted)
    await _look_up(database_url, bearer())
    assert [("api_key k" in one, "signing_key k" in one) for one in asked[-1:]] == [(True, False)]
    await _look_up(database_url, _signed(jws()))
    assert [("api_key k" in one, "signing_key k" in one) for one in asked[-1:]] == [(False, True)]
