"""Records for reports: read under the widest limits, shown without credentials, safe for JSON and terminals."""

import re
from dataclasses import dataclass

import jwt

from worker.auth.access_tokens import UNREADABLE, numeric_date
from worker.domain.command import Command
from worker.messages.envelope import Limits, Record, open_envelope, without_excess
from worker.messages.hints import printable
from worker.settings import Settings
from worker.tools.common.report import json_safe

_API_KEY = re.compile(r"(?<![A-Za-z0-9])tp_\S+")
_CREDENTIALS = re.compile(r"(\btp_|\bbearer[ \t]+)[\w.~+/=-]{6,}", re.IGNORECASE)


def _widest_limits() -> Limits:
    settings = {name: field.metadata for name, field in Settings.model_fields.items() if name.startswith("limit_")}
    most = {name: next(bound.le for bound in bounds if hasattr(bound, "le")) for name, bounds in settings.items()}
    return Limits(
        most["limit_value_bytes"], most["limit_headers"], most["limit_header_bytes"], most["limit_json_depth"]
    )


# The largest limits that settings allow: the worker that answered a record may have had other limits than ours.
WIDEST = _widest_limits()


def command_of(record: Record) -> Command:
    """The command of a record, read as workers read it: if it has too many headers, they keep only the known ones."""
    # With all headers, the answer would not fit its command: any producer could make a lane unrecoverable.
    return open_envelope(without_excess(record, WIDEST), WIDEST).command


def masked(text: str) -> str:
    """Text that is safe for JSON, without API keys: somebody may have typed or sent one in a wrong place."""
    return _API_KEY.sub("tp_…", json_safe(text))


def escaped(data: bytes | None) -> str | None:
    """Bytes of a record as text that is safe for terminals, without credentials."""
    if data is None:
        return None
    return _CREDENTIALS.sub(r"\1…", printable(data.decode("utf-8", "backslashreplace")))


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """The key and the expiry (Unix seconds) that an access token states."""

    key_id: str | None
    expires_at: float | None


def label_of(token: str) -> TokenLabel:
    """The label of an access token, which is not verified. A part is None if the token lacks it."""
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except UNREADABLE:
        return TokenLabel(None, None)
    key_id = read["header"].get("kid")
    return TokenLabel(key_id if isinstance(key_id, str) else None, numeric_date(read["payload"].get("exp")))
