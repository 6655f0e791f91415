"""Creates, finds and revokes API keys by their hashes, since the keys themselves are not stored."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.common.companies import Company


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the queries select it. `is_revoked` follows the database's clock; `revoked_at` may lie ahead."""

    digest: bytes
    company_id: str
    label: str
    revoked_at: datetime | None
    is_revoked: bool


async def companies_without_signing_key(connection: Connection) -> list[Company]:
    """Companies that must sign by now but have no valid key: all of their commands are refused."""
    return [Company(*row) for row in await connection.fetch(sql.load("companies_without_signing_key", __package__))]


async def companies_that_sign(connection: Connection) -> int:
    """How many companies have a signing key that is valid, or will be."""
    count: int = await connection.fetchval(sql.load("companies_that_sign", __package__))
    return count


async def list_keys(connection: Connection, company_id: str | None) -> list[StoredKey]:
    """The keys of a company, or of all companies, ordered by company and label."""
    return [StoredKey(*row) for row in await connection.fetch(sql.load("list_api_keys", __package__), company_id)]


async def find_keys(connection: Connection, prefix: str, most: int) -> list[StoredKey]:
    """At most `most` keys whose hash begins with these hexadecimal digits."""
    first, last = (bytes.fromhex(prefix.ljust(64, digit)) for digit in "0f")
    rows = await connection.fetch(sql.load("find_api_keys", __package__), first, last, most)
    return [StoredKey(*row) for row in rows]


async def add_key(connection: Connection, digest: bytes, company_id: str, label: str) -> StoredKey:
    """Let a company use the key of this hash from now on. Raises what the database raises."""
    row = await connection.fetchrow(sql.load("add_api_key", __package__), digest, company_id, label)
    assert row is not None, "an INSERT returns its row"
    return StoredKey(*row)


async def lock_key(connection: Connection, digest: bytes) -> StoredKey:
    """Lock a key until the transaction ends. Returns the key as others have left it."""
    row = await connection.fetchrow(sql.load("lock_api_key", __package__), digest)
    assert row is not None, "no key is ever deleted"
    return StoredKey(*row)


async def revoke_key(
    connection: Connection,
    digest: bytes,
    at: datetime | None,
    overlap: timedelta = timedelta(),
    *,
    only_plan: bool = False,
) -> StoredKey:
    """Revoke a key from `at` on (None: now), plus `overlap`, unless it is revoked earlier. Returns the key.

    With `only_plan`, change nothing and return the key as it would be.
    """
    query = "planned_revocation" if only_plan else "revoke_api_key"
    row = await connection.fetchrow(sql.load(query, __package__), digest, at, overlap)
    assert row is not None, "no key is ever deleted"
    return StoredKey(*row)
