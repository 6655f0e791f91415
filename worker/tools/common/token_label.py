"""What an access token says of itself, for people. Nothing is verified."""

from dataclasses import dataclass

import jwt

from worker.auth.access_tokens import UNREADABLE, numeric_date


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """What may be told of a token that nobody verified: which key it says has signed it, and until when it is good."""

    key_id: str | None
    expires_at: float | None


def label_of(token: str) -> TokenLabel:
    """Key id and expiry in Unix seconds, each None where the token does not say it."""
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except UNREADABLE:
        return TokenLabel(None, None)
    key_id = read["header"].get("kid")
    return TokenLabel(key_id if isinstance(key_id, str) else None, numeric_date(read["payload"].get("exp")))
