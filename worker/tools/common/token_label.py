"""The key id and expiry that an access token states, for people. Nothing is verified."""

from dataclasses import dataclass

import jwt

from worker.auth.access_tokens import UNREADABLE, numeric_date


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """The id of the key that a token names, and its expiry in Unix seconds. None where it states none."""

    key_id: str | None
    expires_at: float | None


def label_of(token: str) -> TokenLabel:
    """The label of a token, or of a text that is none."""
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except UNREADABLE:
        return TokenLabel(None, None)
    key_id = read["header"].get("kid")
    return TokenLabel(key_id if isinstance(key_id, str) else None, numeric_date(read["payload"].get("exp")))
