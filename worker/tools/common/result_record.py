"""Reads published records back into answers and dead letters: the inverse of `worker.messages.events`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from worker.domain.command import OBJECT_ID, DeadLetter, Source, TraceContext
from worker.domain.places import Place
from worker.domain.timestamps import parse_ms
from worker.messages.envelope import Record
from worker.messages.events import Answer, Event, Header, dead_letter_event, event_of
from worker.messages.rules import Kind

# A record as it was read, or as it is to be published.
Published = Event | Record

# The worker adds its headers after those of the command, which may have some of the same names.
_DEAD_LETTER_HEADERS = 6

_ORIGIN_HEADERS = (
    "dlq-consumer-group",
    *(f"dlq-original-{name}" for name in ("topic", "partition", "offset", "timestamp")),
)


class Misfit(ValueError):
    """No worker publishes such a record. The text says which part does not fit."""


def answer_of(result: Published, kind: Kind, source: Source) -> Answer:
    """The answer from which a result of a kind was made. `source` is the command that the result names.

    Raises `Misfit` unless the answer yields exactly these bytes again.
    """
    texts = {name: text for name, text in result.headers if text is not None}
    is_created = kind is Kind.CREATED
    try:
        answer = Answer(
            source.offset,
            parse_ms(texts["ce_time"].decode("ascii")),
            kind,
            (result.key or b"").decode("utf-8"),
            result.value or b"",
            texts["ce_companyid"].decode("utf-8") if "ce_companyid" in texts else None,
            texts["ce_subject"].decode("utf-8") if is_created else None,
            "idempotency-replayed" in texts,
            TraceContext(texts["traceparent"], texts.get("tracestate")) if "traceparent" in texts else None,
        )
    except (KeyError, ValueError) as error:
        raise Misfit(f"{type(error).__name__} in its headers or its key") from error
    # The comparison below cannot catch a bad id, since an event repeats what the answer has.
    for id in (answer.company_id, answer.passport_id):
        if id is not None and not re.fullmatch(OBJECT_ID, id):
            raise Misfit("the id of its company or passport is not 24 hexadecimal digits")
    if (unlike := difference(event_of(answer, source.topic, source.partition), result)) is not None:
        raise Misfit(f"{unlike} is not what a worker writes")
    return answer


def known_answer(result: Published, kind: Kind, source: Source) -> Answer | None:
    """The answer from which a result of a kind was made; None if no worker publishes such a record."""
    try:
        return answer_of(result, kind, source)
    except Misfit:
        return None


class LetterOrigin(NamedTuple):
    """The group that wrote a dead letter, and the place and append time in ms of the command that it copies."""

    group_id: str
    place: Place
    appended_ms: int


def letter_origin(headers: Sequence[Header]) -> LetterOrigin | None:
    """The origin that the headers of a dead letter name; None for other records."""
    ours = dict(headers[-_DEAD_LETTER_HEADERS:])
    try:
        group, topic, partition, offset, at = ((ours[name] or b"").decode("utf-8") for name in _ORIGIN_HEADERS)
        return LetterOrigin(group, Place(topic, int(partition), int(offset)), int(at))
    except (KeyError, ValueError):
        return None


def letter_cause(headers: Sequence[Header], group_id: str) -> Place | None:
    """The command that a dead letter of this group copies; None for other records."""
    origin = letter_origin(headers)
    return None if origin is None or origin.group_id != group_id else origin.place


def letter_of(copy: Published, source: Source, group_id: str) -> DeadLetter:
    """The dead letter from which a record was made. Raises `Misfit` unless it yields exactly these bytes again."""
    headers, added = copy.headers[:-_DEAD_LETTER_HEADERS], copy.headers[-_DEAD_LETTER_HEADERS:]
    reason = dict(added).get("dlq-reason") or b""
    letter = DeadLetter(copy.key, copy.value, tuple(headers), reason.decode("ascii", "replace"))
    if (unlike := difference(dead_letter_event(letter, source, group_id), copy)) is not None:
        raise Misfit(f"{unlike} is not what a worker writes")
    return letter


def difference(wanted: Event, record: Published) -> str | None:
    """The first part of a record that differs from the expected one: key, value or a header; None if none does."""
    if record.key != wanted.key:
        return "the key"
    if record.value != wanted.value:
        return "the value"
    if [*record.headers] == wanted.headers:
        return None
    pairs = zip(record.headers, wanted.headers, strict=False)
    unlike = next((theirs for theirs, ours in pairs if theirs != ours), None)
    return "the number of headers" if unlike is None else f"the header {unlike[0]}"
