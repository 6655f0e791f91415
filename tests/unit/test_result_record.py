"""Back from a published result to its answer."""

import pytest

from tests.unit.builders import COMPANY, NOW_MS, TOPIC, command
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.tools.common.result_record import Misfit, answer_of

SOURCE = command().source
CREATED = Answer(SOURCE.offset, NOW_MS, Kind.CREATED, "k", b"{}", COMPANY, SOURCE.passport_id)
REFUSED = Answer(SOURCE.offset, NOW_MS, Kind.REJECTED, "k", b"{}", COMPANY)
NO_IDS = ("", "zz" * 12, "A" * 24, "a" * 23, "a" * 25, "a" * 24 + "\n", "²" * 24)


def _back(answer: Answer) -> Answer:
    return answer_of(event_of(answer, TOPIC, SOURCE.partition), answer.kind, SOURCE)


@pytest.mark.parametrize("answer", [CREATED, REFUSED, REFUSED._replace(company_id=None)])
def test_what_a_worker_writes_is_read_back(answer: Answer) -> None:
    """The answer, field for field."""
    assert _back(answer) == answer


@pytest.mark.parametrize("id", NO_IDS)
def test_an_id_that_is_none_is_no_workers(id: str) -> None:
    """Whoever looks it up in the database may count on 24 digits."""
    for answer in (CREATED._replace(company_id=id), CREATED._replace(passport_id=id)):
        with pytest.raises(Misfit, match="id of its"):
            _back(answer)
