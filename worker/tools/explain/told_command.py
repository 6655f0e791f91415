"""A command as a report shows it: what it asks for, and of its credentials only what may be told."""

import re

from worker.domain.command import ApiKey, CreatePassport, Credentials, Signature
from worker.domain.timestamps import time_of_ms
from worker.messages.envelope import Envelope, Record, body_of, open_envelope
from worker.tools.common.refits import widest_limits
from worker.tools.common.token_label import label_of
from worker.tools.explain.lookups import KeyOwner
from worker.tools.explain.report import AskedReport, CommandReport, CredentialsReport

HASH_DIGITS = 8
WIDEST = widest_limits()
_MOST_KEY_ID = 100
_API_KEY = re.compile(r"(?<![A-Za-z0-9])tp_\S+")


def safe(text: str) -> str:
    """Lone surrogates, which no JSON document may hold in UTF-8, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def masked(text: str) -> str:
    """The same, also without API keys: what was typed or sent in a wrong place may be one."""
    return _API_KEY.sub("tp_…", safe(text))


def credentials_of(record: Record) -> Credentials:
    """What a command came with; access tokens are not read."""
    return open_envelope(record, WIDEST).command.credentials


def command_report(record: Record, owner: KeyOwner | None, audience: str | None, *, is_known: bool) -> CommandReport:
    """The command without its credentials; whether they were good, and whose key it is as far as we may know.

    `audience` is whom signatures have to be for; None: the record's topic.
    """
    envelope = open_envelope(record, WIDEST, audience)
    return CommandReport(
        appended_at=time_of_ms(record.timestamp_ms),
        key=None if record.key is None else masked(record.key.decode("utf-8", "backslashreplace")),
        key_bytes=len(record.key or b""),
        value_bytes=len(record.value or b""),
        headers=len(record.headers),
        idempotency_key=envelope.command.idempotency_key,
        credentials=_credentials(envelope, owner, is_known=is_known),
        asked=_asked(record, envelope.command.body),
    )


def _credentials(envelope: Envelope, owner: KeyOwner | None, *, is_known: bool) -> CredentialsReport:
    """A key that was good is known to the database, whether or not we may look for its hash there."""
    found = envelope.command.credentials
    if isinstance(found, Signature):
        return CredentialsReport(
            kind="signature",
            label=owner and safe(owner.label),
            hash_digits=None,
            key_id=masked(found.key_id)[:_MOST_KEY_ID],
            expires_at=time_of_ms(found.expires_ms),
            misfit=found.misfit,
        )
    if isinstance(found, ApiKey):
        return CredentialsReport(
            kind="api-key",
            label=owner and safe(owner.label),
            hash_digits=found.digest.hex()[:HASH_DIGITS] if is_known or owner is not None else None,
            key_id=None,
            expires_at=None,
        )
    if envelope.token is None:
        return CredentialsReport(kind=str(found), label=None, hash_digits=None, key_id=None, expires_at=None)
    token = label_of(envelope.token)
    expires_at = None if token.expires_at is None else time_of_ms(int(max(0.0, min(token.expires_at, 1e12)) * 1000))
    return CredentialsReport(
        kind="access-token",
        label=None,
        hash_digits=None,
        key_id=None if token.key_id is None else masked(token.key_id)[:_MOST_KEY_ID],
        expires_at=expires_at,
    )


def _asked(record: Record, content: object) -> AskedReport | None:
    """Of a valid body its values as the rules saw them; of another one those that are of the right type."""
    if isinstance(content, CreatePassport):
        return AskedReport(
            product_id=content.product_id,
            gtin=content.gtin,
            serial_number=content.serial,
            confirm_overage=content.confirm_overage,
        )
    body = body_of(record, WIDEST)
    if not isinstance(body, dict):
        return None
    gs1 = body.get("gs1")
    named = gs1 if isinstance(gs1, dict) else {}
    confirmed = body.get("confirmOverage")
    return AskedReport(
        product_id=_text(body.get("productId")),
        gtin=_text(named.get("gtin")),
        serial_number=_text(named.get("serialNumber")),
        confirm_overage=confirmed if isinstance(confirmed, bool) else None,
    )


def _text(value: object) -> str | None:
    return masked(value) if isinstance(value, str) else None
