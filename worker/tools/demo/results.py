"""What the demo makes of a result: a column of its table, and the code of its outcome."""

import json

from worker.messages.answers import outcome_class
from worker.messages.rules import CREATED, REFUSALS, REPLAYED, Kind
from worker.tools.common.results import ResultRecord
from worker.tools.demo.tally import Result


def result_of(record: ResultRecord, kind: Kind) -> Result:
    """A record of a result topic as the tally counts it."""
    body = json.loads(record.value or b"{}")
    if kind is Kind.CREATED:
        column, status = REPLAYED if record.is_replayed else CREATED, 201
        reason = f"{column}, overage charged" if "overage" in body and not record.is_replayed else column
    else:
        outcome = outcome_class(kind, body)
        column, status = kind.label.removesuffix("-required"), int(body["status"])
        reason = column if outcome is None else REFUSALS[outcome].code
    place = record.topic, record.partition
    return Result(record.cause, place, column, status, reason, body)
