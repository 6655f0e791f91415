"""Which outcome an answer tells of, from its kind and body alone: `created`, `replayed`, or the code of a refusal."""

import json
import re
from collections.abc import Mapping
from typing import Any

from worker.domain import outcomes
from worker.messages.events import Answer
from worker.messages.refusals import REFUSALS, Kind

CREATED, REPLAYED = "created", "replayed"
CODES = (CREATED, REPLAYED, *(refusal.code for refusal in REFUSALS.values()))
"""Every code there is."""

_KEY_FIELD = "Idempotency-Key"
_GAPS = re.compile(r"\\\{[a-z_]+\\\}")
_PATTERNS = tuple(
    (re.compile(_GAPS.sub("[0-9]+", re.escape(refusal.error))), refusal)
    for outcome, refusal in REFUSALS.items()
    if outcome is not outcomes.MalformedIdempotencyKey
)


def outcome_code(answer: Answer) -> str:
    """One of `CODES`. Raises `ValueError` for a body that no outcome has."""
    if answer.kind is Kind.CREATED:
        return REPLAYED if answer.replayed else CREATED
    body: Mapping[str, Any] = json.loads(answer.value)
    error = str(body.get("error"))
    for pattern, refusal in _PATTERNS:
        if refusal.kind is answer.kind and pattern.fullmatch(error):
            if refusal is REFUSALS[outcomes.Invalid] and _KEY_FIELD in body["details"]["fieldErrors"]:
                return REFUSALS[outcomes.MalformedIdempotencyKey].code
            return refusal.code
    raise ValueError(f"there is no refusal {error!r} of kind {answer.kind.label}")
