"""`explain` while servers fail in the middle of its question."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from worker.domain.places import Place
from worker.settings import Settings
from worker.tools.common.report import Problem
from worker.tools.explain import explain as module
from worker.tools.explain.evidence import Conclusion
from worker.tools.explain.locate import Located

PROBLEM = Problem(code="kafka-away", text="Kafka cannot be reached.")


class _Database:
    """Has no lanes, and does not answer the next question."""

    async def lanes_of_group(self, group_id: str) -> dict[Any, Any]:
        """None."""
        return {}


async def test_a_failure_of_kafka_is_told_when_postgres_fails_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and also by the answer that comes without either server."""

    async def ask(self: Any, database: Any, lanes: Any) -> Any:
        if self.kafka:
            raise KafkaConnectionError
        if database is not None:
            raise ConnectionResetError
        return module._report(Place("t", 0, 0), Located(None), Conclusion("not-found"), None, self.problems)

    monkeypatch.setattr(module._Question, "_ask", ask)
    servers: Any = SimpleNamespace(settings=Settings(), problem=lambda error: PROBLEM)
    question = module._Question(servers, Place("t", 0, 0), servers, False, {}, {"t": servers}, False)
    with pytest.raises(ConnectionResetError):
        await question.ask(_Database())  # type: ignore[arg-type]
    report = await question.ask(None)
    assert [problem.code for problem in report.problems] == ["kafka-away", "not-found"]
