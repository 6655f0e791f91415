"""Converts values to rows and columns of Postgres, and back."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from worker.domain.command import DeadLetter, TraceContext
from worker.domain.outcomes import Created
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.store import sql
from worker.store.columns import NO_KEY, hashes, ids, integers, optional_texts, texts
from worker.store.facts import key_id
from worker.store.frames import Frame, Frames, Own, created_body_of
from worker.store.port import FencingToken, Position, TopicIdentity


def position_of(row: asyncpg.Record) -> Position | None:
    """The position in a lane's row; None if the lane never ran."""
    if row["applied"] is None:
        return None
    topic = None if row["topic_id"] is None else TopicIdentity(row["cluster_id"], row["topic_id"])
    return Position(row["applied"], row["emitted"], row["ledger_from"], topic)


def token_columns(tokens: Iterable[FencingToken]) -> tuple[list[int], list[int], list[str]]:
    """Lanes, epochs and holders, for queries that check whether a lane is still held."""
    tokens = [*tokens]
    return [token.lane_id for token in tokens], [token.epoch for token in tokens], [token.holder for token in tokens]


# An argument of a query. `unnest` pads shorter columns with null, so a column of nulls need not be sent.
Column = Sequence[Any]


def passport_columns(
    created: Sequence[Created],
    framed: Sequence[tuple[Frame, Own]],
    numbers: Mapping[str, int],
    key_ids: Mapping[tuple[str, str], bytes],
) -> list[Column]:
    """Parameters of `record.sql`: passports, each with its frame and its own values.

    `numbers` are those of companies. `key_ids`, by company and idempotency key, save computing some again.
    """
    if not created:
        return [b"", "", "", "", "", b"", "", "", b"", b"", []]
    passports, companies, _, gtins, serials, _, prices, created_ms, _, keys, fingerprints = zip(*created, strict=True)
    return [
        ids(passports),
        integers([numbers[company_id] for company_id in companies]),
        texts(gtins),
        texts(serials),
        integers(created_ms),
        hashes([frame.id for frame, _ in framed]),
        optional_texts([own.gs1.decode("ascii") for _, own in framed]),
        optional_texts([own.rest.decode("ascii") for _, own in framed]),
        hashes(
            [
                NO_KEY if key is None else key_ids.get((company, key)) or key_id(company, key)
                for company, key in zip(companies, keys, strict=True)
            ]
        ),
        hashes([fingerprint or 2 * NO_KEY for fingerprint in fingerprints]),
        _sparse(prices),
    ]


def ledger_columns(lane_ids: Sequence[int], answers: Sequence[Answer]) -> list[Column]:
    """Parameters of `record.sql`: ledger rows, each with the id of its lane."""
    if not answers:
        return ["", "", "", b"", [], "", "", "", [], [], []]
    columns = zip(*answers, strict=True)
    offsets, appended_ms, kinds, keys, values, companies, passports, replayed, traces, _ = columns
    return [
        integers(lane_ids),
        integers(offsets),
        integers(appended_ms),
        bytes(kinds),
        replayed if True in replayed else (),
        texts(keys),
        optional_texts(companies),
        optional_texts(passports),
        _sparse([trace and trace.traceparent for trace in traces]),
        _sparse([trace and trace.tracestate for trace in traces]),
        _sparse([value if id is None else None for id, value in zip(passports, values, strict=True)]),
    ]


def _sparse(column: Column) -> Column:
    # asyncpg would encode each null, and many turns have no charge or no trace.
    return () if column.count(None) == len(column) else column


def dead_letter_row(lane_id: int, offset: int, letter: DeadLetter) -> tuple[Any, ...]:
    """Parameters of `dead_letters.sql`."""
    names = [name.encode("utf-8") for name, _ in letter.headers]
    values = [value for _, value in letter.headers]
    return (lane_id, offset, letter.reason, letter.key, letter.value, names, values)


def frame_columns(frames: Collection[tuple[Frame, Created]]) -> list[Column]:
    """Parameters of `record.sql`: frames, each with a passport of its product."""
    return [
        [frame.id for frame, _ in frames],
        [passport.product.id for _, passport in frames],
        [passport.product.template_id for _, passport in frames],
        [frame.text.decode("utf-8") for frame, _ in frames],
    ]


async def answers_of(rows: Sequence[asyncpg.Record], frames: Frames, connection: sql.Connection) -> list[Answer]:
    """The answers in rows of `answers.sql`. Reads the frames that they refer to."""
    by_id = await frames.load(connection, {id for row in rows if (id := row["frame_id"]) is not None})
    return [_answer_of(row, by_id) for row in rows]


def _answer_of(row: asyncpg.Record, frames: Mapping[bytes, Frame]) -> Answer:
    offset, appended_ms, kind, replayed, key, company_id, passport_id, traceparent, tracestate, value, reason, *_ = row
    if passport_id is not None:
        value = created_body_of(passport_id, row, frames)
    trace = None if traceparent is None else TraceContext(traceparent, tracestate)
    letter = None if reason is None else dead_letter_of(row)
    return Answer(offset, appended_ms, _KINDS[kind], key, value, company_id, passport_id, replayed, trace, letter)


_KINDS = {int(kind): kind for kind in Kind}


def dead_letter_of(row: asyncpg.Record) -> DeadLetter:
    """The dead letter in a row of `answers.sql` or `find_dead_letter.sql`."""
    names = (name.decode("utf-8") for name in row["header_names"])
    headers = tuple(zip(names, row["header_values"], strict=True))
    return DeadLetter(row["dead_key"], row["dead_value"], headers, row["reason"])
