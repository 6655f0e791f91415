"""Why a command was answered so, in one or two plain sentences, made from the answer's kind and body alone."""

from collections.abc import Callable, Mapping
from typing import Any

from worker.domain import outcomes
from worker.domain.outcomes import CredentialsProblem, Outcome, SignatureProblem
from worker.messages.rules import field_errors

Body = Mapping[str, Any]

_MOST_FIELDS = 5
_MOST_OMITTED = 2**31


def why(outcome: type[Outcome] | None, body: Body) -> str:
    """Sentences for people. They quote the body: escape them before a terminal sees them."""
    if outcome is None:
        return "This version of the worker writes no such answer: ask the one that wrote it."
    return _SENTENCES[outcome](body)


def _created(body: Body) -> str:
    charged = body.get("overage")
    if isinstance(charged, dict):
        return (
            f"No rule was in the way: passport {body.get('_id')} was created. No slot was free, overage was confirmed, "
            f"and {_cents(charged.get('priceCents'))} were charged."
        )
    return f"No rule was in the way: passport {body.get('_id')} was created."


def _replayed(body: Body) -> str:
    return (
        f"Its idempotency key was bound to passport {body.get('_id')}, created with the same body at "
        f"{body.get('createdAt')}: that created event was published again, and nothing was created."
    )


def _unreadable(body: Body) -> str:
    return f"The record is no command: {_detail(body, 'reason')}. A copy is on the dead-letter topic."


SIGNATURE_SENTENCES: Mapping[str, str] = {
    SignatureProblem.MALFORMED: "Its jws-signature header is not one compact JWS with typ, alg, kid, exp and no crit.",
    SignatureProblem.KEY_UNKNOWN: "No company has a signing key with the kid that its signature names.",
    SignatureProblem.KEY_NOT_VALID: (
        "Its signing key was not valid yet, or was revoked, when the record was appended."
    ),
    SignatureProblem.MISMATCH: (
        "Its signature is of another record: aud, sha256, key or ct is not that of this topic, value, idempotency key "
        "and content type."
    ),
    SignatureProblem.EXPIRED: "The record was appended when its signature had expired, or before its nbf.",
    SignatureProblem.TOO_LONG_LIVED: "Its signature would be good for over 24 hours from the record's append time on.",
    SignatureProblem.WRONG: "Its signature is not one of the key that it names, over what it says.",
    SignatureProblem.REQUIRED: "The company's commands have to be signed, and this one has an API key or access token.",
}
"""By reason: what was wrong."""


_CREDENTIALS_SENTENCES: Mapping[str, str] = {
    **SIGNATURE_SENTENCES,
    CredentialsProblem.KEYS_UNAVAILABLE: (
        "Its access token names a key that no worker knew, while the authorization server's keys could not be read: "
        "nobody could say whether the token is good. The command may be sent again."
    ),
}


def _unauthorized(body: Body) -> str:
    if (told := _CREDENTIALS_SENTENCES.get(_detail(body, "reason"))) is not None:
        return told
    return (
        "The credentials are missing, malformed or unknown, or had been revoked or had expired when the record was "
        "appended. Nobody is told which of them."
    )


def _forbidden(body: Body) -> str:
    return f"The access token does not carry the scope {_detail(body, 'requiredScope')}."


def _malformed_key(_: Body) -> str:
    return (
        "The idempotency-key header is not one UTF-8 value of 1 to 255 characters without control characters, so the "
        "place of the record is the key of the result."
    )


def _key_reused(_: Body) -> str:
    return "Its idempotency key was bound to a passport that was created with another body, less than 24 hours before."


def _invalid(body: Body) -> str:
    found = field_errors(body)
    told = [f"{path}: {', '.join(map(str, messages))}" for path, messages in list(found.items())[:_MOST_FIELDS]]
    details = body.get("details")
    omitted = details.get("omitted") if isinstance(details, dict) else None
    counted = omitted if type(omitted) is int and 0 < omitted < _MOST_OMITTED else 0  # else it is a stranger's
    others = len(found) - len(told) + counted
    return f"The body is not valid. {'; '.join(told)}{f'; and {others} more' if others else ''}."


def _subscription(body: Body) -> str:
    return (
        f"The company's subscription was {_detail(body, 'status')}, and its plan needs one that is active or trialing."
    )


def _product(body: Body) -> str:
    return f"The company has no product {_asked(body)[0]}. Whether another company has it is not told."


def _daily_writes(body: Body) -> str:
    return f"The plan's writes of that UTC day were spent, by the record's append time. {body.get('error')}"


def _gtin(body: Body) -> str:
    return f"GTIN {_asked(body)[1]} was registered by another company before, which is not named."


def _serial(body: Body) -> str:
    _, gtin, serial = _asked(body)
    return f"Passport {body.get('passportId')} of the same company has serial number {serial} of GTIN {gtin} already."


def _overage(body: Body) -> str:
    return (
        f"{_usage(body)} The plan sells more, for {_cents(body.get('extraPriceCents'))} each, and the command did not "
        "say confirmOverage: true."
    )


def _hard_block(body: Body) -> str:
    return f"{_usage(body)} The plan sells no more."


_SENTENCES: Mapping[type[Outcome], Callable[[Body], str]] = {
    outcomes.Created: _created,
    outcomes.Replayed: _replayed,
    outcomes.Unreadable: _unreadable,
    outcomes.Unauthorized: _unauthorized,
    outcomes.Forbidden: _forbidden,
    outcomes.MalformedIdempotencyKey: _malformed_key,
    outcomes.IdempotencyKeyReused: _key_reused,
    outcomes.Invalid: _invalid,
    outcomes.SubscriptionInactive: _subscription,
    outcomes.ProductNotFound: _product,
    outcomes.DailyWritesSpent: _daily_writes,
    outcomes.GtinRegistered: _gtin,
    outcomes.SerialExists: _serial,
    outcomes.OverageRequired: _overage,
    outcomes.HardBlock: _hard_block,
}


def _usage(body: Body) -> str:
    return f"No slot was free: {body.get('currentUsage')} of the plan's {body.get('planLimit')} were used."


def _cents(cents: object) -> str:
    return f"{cents} cents"


def _detail(body: Body, name: str) -> str:
    details = body.get("details")
    return str(details.get(name)).rstrip(".") if isinstance(details, dict) else "it is not said why"


def _asked(body: Body) -> tuple[str, str, str]:
    """Product, GTIN and serial number of a valid command."""
    request = body.get("request")
    asked = request if isinstance(request, dict) else {}
    gs1 = asked.get("gs1")
    named = gs1 if isinstance(gs1, dict) else {}
    return str(asked.get("productId")), str(named.get("gtin")), str(named.get("serialNumber"))
