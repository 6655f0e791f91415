"""The demo has a code for every result: on a cluster that is not its own it sees those of others, too."""

import json

import pytest

from worker.domain.outcomes import MalformedIdempotencyKey, Outcome
from worker.messages.rules import KEY_FIELD, REFUSALS
from worker.tools.common.results import ResultRecord
from worker.tools.demo.play import outcome_of


@pytest.mark.parametrize("outcome", REFUSALS, ids=lambda outcome: outcome.__name__)
def test_every_refusal_has_its_code(outcome: type[Outcome]) -> None:
    """Seen to fail for a token without the scope, which no maker of the demo has: it ended the demo."""
    refusal = REFUSALS[outcome]
    wrong = {KEY_FIELD: ["…"]} if outcome is MalformedIdempotencyKey else {}
    body = {"error": refusal.error, "status": refusal.status, "details": {"fieldErrors": wrong}}
    headers = [("ce_causationid", b"commands/0/0")]
    record = ResultRecord(refusal.kind, "t", 0, 0, 0, b"k", json.dumps(body).encode(), headers)
    assert outcome_of(record) == (refusal.status, refusal.code)
