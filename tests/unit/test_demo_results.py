"""The demo has a few words for every result: on a cluster that is not its own it sees those of others, too."""

import json

import pytest

from worker.demo.results import result_of
from worker.domain.outcomes import Outcome
from worker.messages.refusals import REFUSALS
from worker.stream.clients import ResultRecord


@pytest.mark.parametrize("outcome", REFUSALS, ids=lambda outcome: outcome.__name__)
def test_every_refusal_has_a_reason(outcome: type[Outcome]) -> None:
    """Seen to fail for a token without the scope, which no maker of the demo has: it ended the demo."""
    refusal = REFUSALS[outcome]
    body = {"error": refusal.error, "conflict": refusal.conflict, "status": refusal.status}
    headers = {"ce_causationid": "commands/0/0"}
    result = result_of(ResultRecord(refusal.kind, "t", 0, headers, json.dumps(body).encode()))
    assert result.status == refusal.status
    assert result.reason
