"""The demo has a code for every result: on a cluster that is not its own it sees those of others, too."""

import json

import pytest

from worker.domain.outcomes import MalformedIdempotencyKey, Outcome
from worker.messages.rules import KEY_FIELD, REFUSALS, Kind
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


@pytest.mark.parametrize("status", ["abc", None, [1]])
def test_a_strangers_status_is_no_number(status: object) -> None:
    """Seen to fail: it ended the demo."""
    body = json.dumps({"error": "whatever", "status": status}).encode()
    record = ResultRecord(Kind.REJECTED, "t", 0, 0, 0, b"k", body, [("ce_causationid", b"commands/0/0")])
    assert outcome_of(record) == (0, "rejected")
