"""Explains in one or two sentences why a command got its answer, from the answer's outcome and body alone."""

from collections.abc import Mapping

from worker.domain.outcomes import CredentialsProblem, Outcome, SignatureProblem
from worker.messages.rules import ROWS
from worker.tools.common.answers import Body, child, field_errors
from worker.tools.common.money import money

_MOST_FIELDS = 5
_MOST_OMITTED = 2**31
_MOST_CENTS = 2**63

# What was wrong with a signature, by reason.
SIGNATURE_SENTENCES: Mapping[str, str] = {
    SignatureProblem.MALFORMED: "The jws-signature header is not one compact JWS with typ, alg, kid, exp and no crit.",
    SignatureProblem.KEY_UNKNOWN: "No company has a signing key with the kid of the signature.",
    SignatureProblem.KEY_NOT_VALID: (
        "The signing key was not valid yet, or was revoked, when the record was appended."
    ),
    SignatureProblem.MISMATCH: (
        "The signature is of another record: aud, sha256, key or ct does not fit this topic, value, idempotency key "
        "and content type."
    ),
    SignatureProblem.EXPIRED: "The record was appended after the signature had expired, or before its nbf.",
    SignatureProblem.TOO_LONG_LIVED: "The signature would be valid for over 24 hours from the record's append time on.",
    SignatureProblem.WRONG: "The key that the signature names did not make it over these claims.",
    SignatureProblem.REQUIRED: "The company's commands have to be signed. This one has an API key or access token.",
}

# What was wrong with credentials, by the reasons of rule 2.
CREDENTIALS_SENTENCES: Mapping[str, str] = {
    **SIGNATURE_SENTENCES,
    CredentialsProblem.WRONG_CHANNEL: (
        "The company may not use the channel of this record: its `channels` in the catalogue name others."
    ),
    CredentialsProblem.KEYS_UNAVAILABLE: (
        "The access token names a key that the worker did not know, and the authorization server's keys could not be "
        "read. So nobody could say whether the token is good. The command may be sent again."
    ),
}
_OTHER_CREDENTIALS = (
    "The credentials are missing, malformed or unknown, or they were revoked, had expired or belonged to a closed "
    "company when the record was appended. The result does not say which."
)


def why(outcome: type[Outcome] | None, body: Body, currency: str) -> str:
    """Explains an answer to people. The text quotes the body: escape it before a terminal sees it."""
    if outcome is None:
        return "This version of the worker writes no such answer. Ask the version that wrote it."
    request, overage = child(body, "request"), body.get("overage")
    gs1 = child(request, "gs1")
    charged = _price(overage.get("priceCents") if isinstance(overage, dict) else None, currency)
    charge = f" No slot was free, overage was confirmed, and {charged} was charged."
    return ROWS[outcome].explanation.format(
        id=body.get("_id"),
        createdAt=body.get("createdAt"),
        charge=charge if isinstance(overage, dict) else "",
        error=body.get("error"),
        reason=_detail(body, "reason"),
        credentials=CREDENTIALS_SENTENCES.get(_detail(body, "reason"), _OTHER_CREDENTIALS),
        scope=_detail(body, "requiredScope"),
        subscription=_detail(body, "status"),
        fields=_fields(body),
        product=request.get("productId"),
        gtin=gs1.get("gtin"),
        serial=gs1.get("serialNumber"),
        passport=body.get("passportId"),
        usage=body.get("currentUsage"),
        limit=body.get("planLimit"),
        price=_price(body.get("extraPriceCents"), currency),
    )


def _price(cents: object, currency: str) -> str:
    # A stranger may have written anything here.
    if isinstance(cents, int) and not isinstance(cents, bool) and 0 <= cents < _MOST_CENTS:
        return money(cents, currency)
    return "an unstated price"


def _detail(body: Body, name: str) -> str:
    details = body.get("details")
    return str(details.get(name)).rstrip(".") if isinstance(details, dict) else "no reason is given"


def _fields(body: Body) -> str:
    """The first wrong fields, and the number of the others."""
    errors = field_errors(body)
    first = [f"{path}: {', '.join(messages)}" for path, messages in list(errors.items())[:_MOST_FIELDS]]
    omitted = child(body, "details").get("omitted")
    others = len(errors) - len(first)
    if type(omitted) is int and 0 < omitted < _MOST_OMITTED:  # a stranger may have written anything here
        others += omitted
    return "; ".join(first) + (f"; and {others} more" if others else "")
