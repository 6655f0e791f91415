"""Which outcome an answer tells of, as a code: `created`, `replayed`, or the code of a refusal."""

from worker.messages.events import Answer
from worker.messages.refusals import REFUSALS, Kind
from worker.messages.rules import body_of_value, outcome_class

CREATED, REPLAYED = "created", "replayed"
CODES = (CREATED, REPLAYED, *(refusal.code for refusal in REFUSALS.values()))
"""Every code there is."""
OUTCOMES = (CREATED, REPLAYED, *(kind.label for kind in Kind if kind is not Kind.CREATED))
"""In a word, as metrics, `submit` and `tail` tell them: refusals by their result topic."""


def outcome_code(answer: Answer) -> str:
    """One of `CODES`. Raises `ValueError` for a body that no outcome has."""
    if answer.kind is Kind.CREATED:  # their bodies are large, and say nothing of it
        return REPLAYED if answer.replayed else CREATED
    found = outcome_class(answer.kind, body_of_value(answer.value))
    if found is None or found not in REFUSALS:
        raise ValueError(f"no outcome of kind {answer.kind.label} has such a body")
    return REFUSALS[found].code
