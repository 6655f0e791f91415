"""The idempotency key of a row: the same row replays, a corrected one is new."""

from worker.messages.events import uuid5_of_url
from worker.messages.json_value import JsonObject, fingerprint


def idempotency_key(body: JsonObject) -> str:
    """UUIDv5 (URL namespace) of `urn:passport-worker:submit:<hex of the body's fingerprint>`."""
    name = f"urn:passport-worker:submit:{fingerprint(body).hex()}"
    return uuid5_of_url(name.encode("ascii")).decode("ascii")


def record_key(body: JsonObject) -> bytes:
    """The GTIN of a valid body: commands that compete for one are answered in their order."""
    identity = body["gs1"]
    assert isinstance(identity, dict)
    return str(identity["gtin"]).encode("ascii")
