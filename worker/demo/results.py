"""What the demo makes of a result: a column of its table, and the code of its outcome."""

import json

from worker.demo.tally import Result
from worker.messages.outcome_code import CREATED, REPLAYED
from worker.messages.refusals import REFUSALS, Kind
from worker.messages.rules import outcome_class
from worker.stream.clients import ResultRecord


def result_of(record: ResultRecord) -> Result:
    """A record of a result topic as the tally counts it."""
    body = json.loads(record.value)
    if record.kind is Kind.CREATED:
        is_replayed = record.headers.get("idempotency-replayed") == "true"
        column, status = REPLAYED if is_replayed else CREATED, 201
        reason = f"{column}, overage charged" if "overage" in body and not is_replayed else column
    else:
        outcome = outcome_class(record.kind, body)
        column, status = record.kind.label.removesuffix("-required"), int(body["status"])
        reason = column if outcome is None else REFUSALS[outcome].code
    place = record.topic, record.partition
    return Result(record.headers["ce_causationid"], place, column, status, reason, body)
