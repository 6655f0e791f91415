"""An answer's kind and body alone tell its outcome."""

import pytest

from tests.unit.builders import command
from worker.domain import outcomes
from worker.domain.outcomes import Asked, Outcome
from worker.messages.events import Answer, describe
from worker.messages.rules import CODES, REFUSALS, Kind
from worker.tools.common.answers import outcome_code

ASKED = Asked("c" * 24, "d" * 24, "04012345000016", "serial")
EVERY: tuple[Outcome, ...] = (
    outcomes.Replayed("c" * 24, "e" * 24, b"{}"),
    outcomes.Unreadable("Expected JSON"),
    outcomes.Unauthorized(),
    outcomes.Unauthorized(outcomes.SignatureProblem.WRONG),
    outcomes.Forbidden("c" * 24),
    outcomes.MalformedIdempotencyKey("c" * 24),
    outcomes.IdempotencyKeyReused("c" * 24),
    outcomes.Invalid("c" * 24, {"gs1.gtin": ["GTIN must be 14 digits"]}),
    outcomes.SubscriptionInactive(ASKED, "past_due"),
    outcomes.ProductNotFound(ASKED),
    outcomes.DailyWritesSpent(ASKED, 200, 200),
    outcomes.GtinRegistered(ASKED),
    outcomes.SerialExists(ASKED, "e" * 24),
    outcomes.OverageRequired(ASKED, 100, 100, 75),
    outcomes.HardBlock(ASKED, 100, 100),
)


@pytest.mark.parametrize("outcome", EVERY, ids=lambda one: type(one).__name__)
def test_each_outcome_is_known_by_its_answer(outcome: Outcome) -> None:
    """As the metrics and logs call it."""
    answer = describe(command(), outcome, "https://id.tracepass.eu/p")
    wanted = REFUSALS[type(outcome)].code if type(outcome) in REFUSALS else "replayed"
    assert outcome_code(answer) == wanted


def test_every_code_is_met() -> None:
    """None was forgotten above."""
    codes = {REFUSALS[type(one)].code for one in EVERY if type(one) in REFUSALS} | {"created", "replayed"}
    assert codes == set(CODES)


def test_a_body_that_no_outcome_has_is_no_outcome() -> None:
    """Of whatever kind."""
    with pytest.raises(ValueError, match="no outcome of kind rejected"):
        outcome_code(Answer(0, 0, Kind.REJECTED, "k", b'{"error":"Nobody"}'))
