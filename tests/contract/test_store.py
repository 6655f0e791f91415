"""What every store promises its lanes; each test runs on the store in memory and on PostgreSQL."""

from dataclasses import dataclass, replace

import pytest

from tests.contract.world import (
    FRACTION,
    GROWTH,
    HARD,
    MIDNIGHT_MS,
    NOW_MS,
    OPEN,
    PAST_DUE,
    REVOKED,
    REVOKED_MS,
    RIVAL,
    TOPIC,
    UNKNOWN,
    Lane,
    ask,
    books_of,
    fence,
    now_ms_of,
    with_token,
)
from tests.workbench import gtin
from worker.batch.batch import Batch
from worker.batch.pipeline import TURN_ANSWER_BYTES, decide_all
from worker.domain.command import DeadLetter, TraceContext
from worker.domain.timestamps import DAY_MS, LATEST_MS, utc_day
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.store import sql
from worker.store.partitions import drop_old_days
from worker.store.port import (
    ExpectedPosition,
    FencingToken,
    LaneName,
    LostLane,
    NewerOwner,
    Owner,
    Position,
    Store,
    StoreUnavailable,
    TopicIdentity,
)
from worker.store.postgres import ANSWERS_BYTES, PostgresStore
from worker.tools.common.inspection import Covered, Inspection

NAME = LaneName("group", TOPIC, 0)
ANSWER = Answer(0, NOW_MS, Kind.REJECTED, "key", b"{}")


async def _fence(store: Store, generation: int = 1, member: str = "member") -> FencingToken:
    return await fence(store, NAME, generation, member)


async def _position(store: Store, token: FencingToken) -> Position | None:
    """Where a lane that is held stands."""
    return (await store.positions([token]))[token]


# Fences


async def test_every_fence_raises_the_epoch(store: Store) -> None:
    """Also one of the same member: a lane that is opened again outlives what it left in flight."""
    first, second, third = await _fence(store, 1), await _fence(store, 1), await _fence(store, 2)
    assert first.epoch < second.epoch < third.epoch
    assert first.lane_id == second.lane_id == third.lane_id


async def test_a_newer_generation_turns_older_ones_away(store: Store) -> None:
    """It is named, and its token stays good."""
    token = await _fence(store, 7, "newer")
    assert await store.register([NAME], Owner(6, "older", "p")) == {NAME: NewerOwner(7, "newer")}
    assert await store.positions([token]) == {token: None}


async def test_force_fences_a_newer_generation(store: Store) -> None:
    """A group that was reset counts from 1 again, and its next generation needs no force."""
    lost = await _fence(store, 7)
    forced = await fence(store, NAME, 1, "reset", force=True)
    assert forced.epoch > lost.epoch
    await fence(store, NAME, 2, "next")
    assert await store.positions([lost]) == {}


@pytest.mark.parametrize(
    "other", [LaneName("group", TOPIC, 1), LaneName("other", TOPIC, 0), LaneName("group", "other", 0)]
)
async def test_lanes_know_nothing_of_each_other(store: Store, other: LaneName) -> None:
    """Group, topic and partition make a lane: a fence of another one takes nothing away."""
    token = await _fence(store, 5)
    others = await fence(store, other)
    assert others.lane_id != token.lane_id
    await store.start_lane(token, 3)
    assert await _position(store, others) is None
    assert await _position(store, token) == Position(3, 3, 3)


# Positions


async def test_a_lane_starts_once(store: Store) -> None:
    """A second start finds the position that is there."""
    token = await _fence(store)
    assert await store.start_lane(token, 5) == Position(5, 5, 5)
    assert await store.start_lane(token, 9) == Position(5, 5, 5)
    assert await _position(store, token) == Position(5, 5, 5)


async def test_a_lane_learns_its_topic_once(store: Store) -> None:
    """When it begins, or when it opens next; another topic of that name does not take its place, nor a lower epoch."""
    first, other = TopicIdentity("cluster", "first"), TopicIdentity("cluster", "other")
    old = await _fence(store)
    await store.start_lane(old, 5)
    token = await _fence(store)
    with pytest.raises(LostLane):
        await store.start_lane(old, 5, other)
    assert await store.start_lane(token, 9, first) == Position(5, 5, 5, first)
    assert await store.start_lane(token, 9, other) == Position(5, 5, 5, first)
    assert await store.start_lane(token, 9) == Position(5, 5, 5, first)


async def _advanced(store: Store, applied: int) -> FencingToken:
    """A lane from offset 0 to `applied`."""
    token = await _fence(store)
    await store.start_lane(token, 0)
    async with store.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
        await transaction.record([], [[]], [applied])
    return token


async def test_the_emitted_offset_rises_and_never_falls(store: Store) -> None:
    """An older note that comes late changes nothing."""
    token = await _advanced(store, 10)
    for offset, emitted in ((4, 4), (3, 4), (10, 10), (0, 10)):
        await store.mark_emitted({token: offset})
        assert await _position(store, token) == Position(10, emitted, 0)


async def test_the_emitted_offset_never_passes_the_applied_one(store: Store) -> None:
    """A note of more than was ever applied is not believed."""
    token = await _advanced(store, 10)
    await store.mark_emitted({token: 11})
    assert await _position(store, token) == Position(10, 0, 0)


async def test_a_batch_carries_the_emitted_offset_along(store: Store) -> None:
    """It rises with a batch, too, and never falls."""
    token = await _advanced(store, 10)
    for start, emitted, expected in ((10, 7, 7), (11, 5, 7), (12, 12, 12)):
        async with store.transaction([ExpectedPosition(token, start, emitted)]) as transaction:
            await transaction.record([], [[]], [start + 1])
        assert await _position(store, token) == Position(start + 1, expected, 0)


async def test_a_lost_hold_changes_nothing(store: Store) -> None:
    """Neither start nor note nor batch of a fenced member has an effect."""
    lost = await _advanced(store, 10)
    token = await _fence(store)
    await store.mark_emitted({lost: 10})
    with pytest.raises(LostLane):
        await store.start_lane(lost, 3)
    with pytest.raises(LostLane):
        async with store.transaction([ExpectedPosition(lost, 10, 10)]) as transaction:
            await transaction.record([], [[]], [11])
    assert await _position(store, token) == Position(10, 0, 0)


async def test_a_lost_hold_cannot_start_a_lane(store: Store) -> None:
    """It is told so, and the new owner starts it where it wants."""
    lost, token = await _fence(store), await _fence(store)
    with pytest.raises(LostLane):
        await store.start_lane(lost, 3)
    assert await _position(store, token) is None


# Batches


@pytest.mark.parametrize("expected", [9, 11])
async def test_a_batch_from_another_position_does_not_begin(store: Store, expected: int) -> None:
    """The lane has to open again and read where it stands."""
    token = await _advanced(store, 10)
    with pytest.raises(StoreUnavailable):
        async with store.transaction([ExpectedPosition(token, expected, 0)]):
            pytest.fail("a batch that would leave a gap or do work twice")


async def test_a_lane_that_never_started_takes_no_batch(store: Store) -> None:
    """Its position is nowhere, not at 0."""
    token = await _fence(store)
    with pytest.raises(StoreUnavailable):
        async with store.transaction([ExpectedPosition(token, 0, 0)]):
            pytest.fail("a batch of a lane without a position")


class _Broken(Exception):
    """The body of a batch failed."""


async def _break(lane: Lane, batch: Batch, recorded: bool) -> None:
    facts = await lane.store.look_up(batch.commands, TURN_ANSWER_BYTES)
    async with lane.store.transaction([batch.expected], batch.commands, facts) as transaction:
        if recorded:
            created, _, answers = decide_all(batch.commands, facts, "https://a")
            await transaction.record(created, [answers], [batch.stop])
        raise _Broken


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_batch_that_fails_leaves_nothing_behind(store: Store, recorded: bool) -> None:
    """Whether it failed before its effects were written or after: no passport, no claim, no answer, no step."""
    lane = await Lane.open(store)
    before = await books_of(store)
    batch = lane.batch(ask(GROWTH, key="k"), ask(OPEN)._replace(value=None))
    with pytest.raises(_Broken):
        await _break(lane, batch, recorded)
    assert await books_of(store) == before
    assert await _position(store, lane.token) == Position(0, 0, 0)
    assert await store.answers(lane.token, 0, 10, 10) == []
    assert await lane.verdicts(ask(RIVAL)) == ["created"]


async def test_a_turn_never_moves_a_position_back(store: Store) -> None:
    """Whoever asks for it (guard B21): all of the turn is rolled back, also of the lanes that go on.

    Seen to fail while only the position before was compared.
    """
    lane, other = await Lane.open(store), await Lane.open(store, partition=1)
    await lane.process(ask(OPEN), ask(OPEN, serial="t"))

    async def move(*positions: int) -> None:
        expected = [ExpectedPosition(lane.token, 2, 0), ExpectedPosition(other.token, 0, 0)]
        async with store.transaction(expected) as transaction:
            await transaction.record([], [[], []], positions)

    with pytest.raises(StoreUnavailable, match="a position goes back"):
        await move(1, 7)
    assert await _position(store, lane.token) == Position(2, 0, 0)
    assert await _position(store, other.token) == Position(0, 0, 0)


async def test_a_lane_goes_on_where_it_stands_after_a_fence(store: Store) -> None:
    """The new owner finds position, answers and facts."""
    first = await Lane.open(store)
    answers = await first.process(ask(OPEN, key="k"))
    second = await Lane.open(store)
    assert second.applied == 1
    assert await second.answers() == answers
    assert await second.verdicts(ask(OPEN, key="k")) == ["replayed"]


# Answers


_LETTER = DeadLetter(b"key", b"value", (("h", b"v"),), "not-json")
_TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_ANSWERS = {
    "rejected": ANSWER,
    "overage required": ANSWER._replace(kind=Kind.OVERAGE_REQUIRED, company_id=OPEN.company_id),
    "conflict": ANSWER._replace(kind=Kind.CONFLICT, company_id=OPEN.company_id),
    "empty value": ANSWER._replace(value=b""),
    "value of 1 MB": ANSWER._replace(value=bytes(range(256)) * 4096),
    "key beyond ASCII": ANSWER._replace(key="schlüssel-\U0001f511-'\"\\"),
    "longest key": ANSWER._replace(key="\U0001f511" * 255),
    "earliest": ANSWER._replace(appended_ms=0),
    "latest": ANSWER._replace(appended_ms=LATEST_MS),
    "odd millisecond": ANSWER._replace(appended_ms=NOW_MS + 1),
    "trace": ANSWER._replace(trace=TraceContext(_TRACEPARENT, None)),
    "trace and state": ANSWER._replace(trace=TraceContext(_TRACEPARENT, b"a=\xff\x00")),
    "dead letter": ANSWER._replace(dead_letter=_LETTER),
    "tombstone": ANSWER._replace(dead_letter=replace(_LETTER, key=None, value=None, headers=())),
    "empty bytes are not null": ANSWER._replace(dead_letter=replace(_LETTER, key=b"", value=b"", headers=(("", b""),))),
    "null headers": ANSWER._replace(dead_letter=replace(_LETTER, headers=(("a", None), ("a", b"1"), ("a", None)))),
    "odd header names": ANSWER._replace(dead_letter=replace(_LETTER, headers=(("a\0b", b"\0"), ("ünï", b"\xff")))),
    "dead letter of 1 MB": ANSWER._replace(dead_letter=replace(_LETTER, value=b"\0" * 1024 * 1024)),
}


@pytest.mark.parametrize("answer", _ANSWERS.values(), ids=_ANSWERS)
async def test_answers_come_back_as_they_were_recorded(store: Store, answer: Answer) -> None:
    """Every byte of every part."""
    token = await _advanced(store, 0)
    async with store.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
        await transaction.record([], [[answer]], [1])
    assert await store.answers(token, 0, 1, 10) == [answer]


async def test_answers_of_all_outcomes_come_back_in_order(store: Store) -> None:
    """Created and replayed ones with their passport, refusals, dead letters and traces in one batch."""
    lane = await Lane.open(store)
    trace = [("traceparent", _TRACEPARENT), ("tracestate", b"a=1")]
    answers = await lane.process(
        ask(OPEN, 1, "ß'\U0001f50b", key="k", headers=trace, parties={"importer": {"legalName": "Ö", "gln": "0" * 13}}),
        ask(OPEN, 1, "ß'\U0001f50b", key="k", parties={"importer": {"legalName": "Ö", "gln": "0" * 13}}),
        ask(RIVAL),
        ask(OPEN, headers=[("n\0", None), *trace])._replace(value=None, key=None),
        *(ask(HARD, 2, str(number)) for number in range(3)),
        ask(UNKNOWN),
    )
    assert [answer.kind for answer in answers] == [1, 1, 3, 4, 1, 1, 4, 4]
    assert await lane.answers() == answers
    assert answers[1].value == answers[0].value


async def test_large_answers_are_read_few_at_a_time(postgres: PostgresStore) -> None:
    """A thousand dead letters of a megabyte must not be in memory together; one is always read."""
    token = await _advanced(postgres, 0)
    letter = DeadLetter(None, b"x" * (ANSWERS_BYTES // 2 - 1000), (), "reason")
    large = [ANSWER._replace(offset=0, value=b"x" * (ANSWERS_BYTES + 1), dead_letter=None)]
    large += [ANSWER._replace(offset=offset, dead_letter=letter) for offset in range(1, 6)]
    async with postgres.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
        await transaction.record([], [large], [6])
    start, sizes = 0, []
    while read := await postgres.answers(token, start, 6, 1000):
        sizes.append(len(read))
        start = read[-1].offset + 1
    assert (sizes, start) == ([1, 2, 2, 1], 6)


async def test_dead_letters_with_large_or_many_headers_are_read_few_at_a_time(postgres: PostgresStore) -> None:
    """Headers count by their bytes and as objects. Seen to fail while only values counted: all came at once."""
    token = await _advanced(postgres, 0)
    large = DeadLetter(b"k", b"{}", (("h", b"x" * (ANSWERS_BYTES // 2)), ("n", None)), "reason")
    many = DeadLetter(None, None, (("", b""),) * (ANSWERS_BYTES // 150), "reason")
    letters = [ANSWER._replace(offset=at, dead_letter=letter) for at, letter in enumerate([large, large, many, many])]
    async with postgres.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
        await transaction.record([], [letters], [4])
    read = [await postgres.answers(token, start, 4, 1000) for start in range(4)]
    assert read == [letters[:1], letters[1:2], letters[2:3], letters[3:]]


async def test_answers_are_read_in_windows(store: Store) -> None:
    """From start to before stop, the first ones up to the limit, over gaps between offsets."""
    token = await _advanced(store, 0)
    offsets = (2, 3, 5, 8)
    async with store.transaction([ExpectedPosition(token, 0, 0)]) as transaction:
        await transaction.record([], [[ANSWER._replace(offset=offset) for offset in offsets]], [9])
    for start, stop, limit, expected in ((0, 9, 9, offsets), (3, 8, 9, (3, 5)), (0, 9, 3, (2, 3, 5)), (6, 8, 9, ())):
        read = await store.answers(token, start, stop, limit)
        assert tuple(answer.offset for answer in read) == expected


async def test_answers_of_two_lanes_stay_apart(store: Store) -> None:
    """The same offsets of another partition are other records."""
    one, two = await Lane.open(store, 0), await Lane.open(store, 1)
    first, second = await one.process(ask(OPEN)), await two.process(ask(OPEN))
    assert (await one.answers(), await two.answers()) == (first, second)
    assert [first[0].replayed, second[0].kind] == [False, Kind.CONFLICT]


async def test_results_that_come_again_are_noted_for_their_topic_alone(postgres: PostgresStore) -> None:
    """The audit takes them for repeats. Repeats of another topic's commands excuse nothing."""
    for topic, start in (("audited", 1), ("audited.other", 3)):
        token = await fence(postgres, LaneName("group", topic, 2))
        await postgres.note_set_back(token, start, 7, "member")
    async with postgres.session() as connection:
        assert await Inspection(connection).covered_repeats("audited") == [Covered(2, 1, 7)]


# Facts for every rule


@dataclass(frozen=True)
class _Case:
    """What is asked in order, and what is answered."""

    asked: list[Record]
    verdicts: list[str]


_REUSED = "422 Idempotency-Key has already been used with a different request body"
_PRODUCT_OF_RIVAL = replace(OPEN, product_id=RIVAL.product_id)
_NO_PRODUCT = replace(OPEN, product_id="f" * 24)
_CASES = {
    "1 unreadable": _Case([ask(OPEN)._replace(value=b"{")], ["400 Unreadable command"]),
    "2 unknown key": _Case([ask(UNKNOWN)], ["401 Unauthorized"]),
    "2 no credentials": _Case([ask(OPEN)._replace(headers=[])], ["401 Unauthorized"]),
    "2 revoked key": _Case(
        [ask(REVOKED, serial=str(at), at_ms=REVOKED_MS + at) for at in (-1, 0, 1)],
        ["created", "401 Unauthorized", "401 Unauthorized"],
    ),
    "2 key revoked within a millisecond": _Case(
        [ask(FRACTION, serial=str(at), at_ms=REVOKED_MS + at) for at in (-1, 0, 1)],
        ["created", "created", "401 Unauthorized"],
    ),
    "2 token expires": _Case(
        [with_token(ask(OPEN, serial=str(at), at_ms=NOW_MS + at), OPEN.company_id) for at in (0, 1)],
        ["created", "401 Unauthorized"],
    ),
    "2 token of a company that is not there": _Case([with_token(ask(OPEN), "f" * 24)], ["401 Unauthorized"]),
    "3 token without the scope": _Case([with_token(ask(OPEN), OPEN.company_id, "read")], ["403 Forbidden"]),
    "4 malformed key": _Case([ask(OPEN, headers=[("idempotency-key", b"")])], ["400 Validation error"]),
    "5 same body": _Case([ask(OPEN, key="k")] * 3, ["created", "replayed", "replayed"]),
    "5 other body": _Case([ask(OPEN, key="k"), ask(OPEN, serial="t", key="k")], ["created", _REUSED]),
    "5 key of another company": _Case([ask(OPEN, key="k"), ask(RIVAL, 2, key="k")], ["created", "created"]),
    "5 only created results bind": _Case(
        [ask(OPEN, 2, "s"), ask(OPEN, 2, "s", key="k"), ask(OPEN, 2, "t", key="k"), ask(OPEN, 2, "s", key="k")],
        ["created", "409 serial_exists", "created", _REUSED],
    ),
    "6 invalid body": _Case([ask(OPEN, serial="")], ["400 Validation error"]),
    "7 subscription": _Case([ask(PAST_DUE)], ["402 subscription_inactive"]),
    "8 no such product": _Case([ask(_NO_PRODUCT)], ["404 Product not found"]),
    "8 product of another company": _Case([ask(_PRODUCT_OF_RIVAL)], ["404 Product not found"]),
    "9 daily budget": _Case(
        [ask(GROWTH, serial=str(at), confirmOverage=True) for at in range(5)], ["created"] * 4 + ["429 API rate limit"]
    ),
    "10 GTIN of another company": _Case([ask(OPEN), ask(RIVAL, serial="t")], ["created", "409 gtin_registered"]),
    "11 serial": _Case(
        [ask(OPEN), ask(OPEN), ask(OPEN, serial="S"), ask(OPEN, 2)],
        ["created", "409 serial_exists", "created", "created"],
    ),
    "12 overage": _Case(
        [ask(GROWTH, serial=str(at)) for at in range(4)] + [ask(GROWTH, serial="3", confirmOverage=True)],
        ["created"] * 3 + ["402 overage_required", "created"],
    ),
    "12 no overage is sold": _Case(
        [ask(HARD, serial=str(at), confirmOverage=True) for at in range(3)], ["created"] * 2 + ["402 dpp_hard_block"]
    ),
    "bound for 24 hours less a millisecond": _Case(
        [ask(OPEN, key="k", at_ms=NOW_MS + at) for at in (0, DAY_MS - 1, DAY_MS)],
        ["created", "replayed", "409 serial_exists"],
    ),
    "bound again and again": _Case(
        [ask(OPEN, serial=str(days), key="k", at_ms=NOW_MS + days * DAY_MS) for days in (0, 1, 2)]
        + [ask(OPEN, serial="2", key="k", at_ms=NOW_MS + 3 * DAY_MS - 1)]
        + [ask(OPEN, serial="1", key="k", at_ms=NOW_MS + 3 * DAY_MS - 1)],
        ["created"] * 3 + ["replayed", _REUSED],
    ),
    "a budget a day": _Case(
        [ask(GROWTH, serial=str(at), at_ms=MIDNIGHT_MS + at, confirmOverage=True) for at in (-5, -4, -3, -2, -1, 0, 1)],
        ["created"] * 4 + ["429 API rate limit"] + ["created"] * 2,
    ),
}


@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
async def test_facts_are_there_for_every_rule(store: Store, case: _Case, together: bool) -> None:
    """In one batch as in many, and the answers come back from the ledger."""
    lane = await Lane.open(store)
    batches = [case.asked] if together else [[one] for one in case.asked]
    assert [one for batch in batches for one in await lane.verdicts(*batch)] == case.verdicts
    read = await lane.answers()
    assert [answer.offset for answer in read] == list(range(len(case.asked)))


# What is kept


@pytest.mark.parametrize("refused", [ask(_NO_PRODUCT), ask(PAST_DUE), ask(OPEN, key="k", serial="t")])
async def test_a_new_gtin_goes_to_the_first_who_creates_with_it(store: Store, refused: Record) -> None:
    """A company whose command comes first in the batch, but is refused, has no claim."""
    lane = await Lane.open(store)
    await lane.process(ask(OPEN, 9, key="k"))
    verdicts = await lane.verdicts(refused, ask(RIVAL), ask(OPEN, serial="u"))
    assert verdicts[1:] == ["created", "409 gtin_registered"]
    assert (await books_of(store)).owners[gtin(1)] == RIVAL.company_id


async def test_a_gtin_stays_free_while_nobody_creates_with_it(store: Store) -> None:
    """Refusals register nothing, so the next batch may."""
    lane = await Lane.open(store)
    await lane.process(ask(_NO_PRODUCT), ask(PAST_DUE))
    assert (await books_of(store)).owners == {}
    assert await lane.verdicts(ask(RIVAL)) == ["created"]


async def test_two_companies_that_race_for_gtins_share_them_out(store: Store) -> None:
    """In one batch, GTIN by GTIN, whoever comes first."""
    lane = await Lane.open(store)
    asked = [ask(OPEN, 1), ask(RIVAL, 1, "t"), ask(RIVAL, 2), ask(OPEN, 2, "t"), ask(OPEN, 1, "t"), ask(RIVAL, 2, "t")]
    conflict = "409 gtin_registered"
    assert await lane.verdicts(*asked) == ["created", conflict, "created", conflict, "created", "created"]
    owners = {gtin(1): OPEN.company_id, gtin(2): RIVAL.company_id}
    assert (await books_of(store)).owners == owners


async def test_a_catalogue_that_changes_holds_for_what_comes_after(postgres: PostgresStore) -> None:
    """It is looked up for every batch, ahead of its transaction; nothing is remembered."""
    lane = await Lane.open(postgres)
    assert await lane.verdicts(ask(OPEN)) == ["created"]
    change = "UPDATE company SET subscription = $1 WHERE id = $2"
    async with postgres.session() as connection:
        before = await connection.fetchval("SELECT subscription FROM company WHERE id = $1", OPEN.company_id)
        await connection.execute(change, "past_due", OPEN.company_id)
    try:
        assert await lane.verdicts(ask(OPEN, serial="t")) == ["402 subscription_inactive"]
    finally:
        async with postgres.session() as connection:
            await connection.execute(change, before, OPEN.company_id)
    assert await lane.verdicts(ask(OPEN, serial="t")) == ["created"]


async def test_writes_are_counted_on_the_day_of_their_record(store: Store) -> None:
    """Also where midnight falls into a batch; refusals and replays count nothing."""
    lane = await Lane.open(store)
    times = (MIDNIGHT_MS - 2, MIDNIGHT_MS - 1, MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS - 1, MIDNIGHT_MS + DAY_MS)
    asked = [ask(OPEN, serial=str(at_ms), at_ms=at_ms, key=str(at_ms)) for at_ms in times]
    await lane.process(*asked, asked[-1], ask(RIVAL, at_ms=times[0]))
    books, day = await books_of(store), utc_day(MIDNIGHT_MS)
    assert books.writes == {(OPEN.company_id, day - 1): 2, (OPEN.company_id, day): 2, (OPEN.company_id, day + 1): 1}
    assert books.slots == {OPEN.company_id: 5}


async def test_a_count_is_as_old_as_the_last_write_to_it(postgres: PostgresStore) -> None:
    """A back-fill may write to a day for longer than counts are kept, and must not exceed its budget."""
    lane, asked = await Lane.open(postgres), [ask(GROWTH, serial=str(at), confirmOverage=True) for at in range(5)]
    await lane.process(*asked[:3])
    async with postgres.session() as connection:
        await connection.execute("UPDATE daily_writes SET recorded_on = recorded_on - 30")
        await lane.process(asked[3])
        await drop_old_days(connection, 7)
    assert await lane.verdicts(asked[4]) == ["429 API rate limit"]


async def test_quotas_tell_the_writes_of_the_utc_day(postgres: PostgresStore) -> None:
    """The database's clock says which day it is."""
    lane, now_ms = await Lane.open(postgres), await now_ms_of(postgres)
    days = (-1, 0, 0, 1)
    await lane.process(*(ask(OPEN, serial=str(at), at_ms=now_ms + day * DAY_MS) for at, day in enumerate(days)))
    async with postgres.session() as connection:
        today = await connection.fetchval(sql.load("today", "worker.tools.quota"))
        quotas = sql.load("quotas", "worker.tools.quota")
        (quota,) = await connection.fetch(quotas, OPEN.company_id, None, today, None, False)
    assert quota["writes"] == days.count(0)


async def test_only_confirmed_overage_is_charged(store: Store) -> None:
    """One charge a passport beyond the slots, at the price of the plan; none under quota, for refusals or replays."""
    lane = await Lane.open(store)
    asked = [ask(GROWTH, serial=str(at), key=str(at), confirmOverage=True) for at in range(4)]
    answers = await lane.process(*asked, asked[3], ask(GROWTH, serial="4"))
    assert (await books_of(store)).charges == {answers[3].passport_id: 75}
    assert b'"overage":{"priceCents":75}' in answers[3].value
    assert b"overage" not in answers[2].value


async def test_a_key_that_is_bound_again_replays_its_newest_passport(store: Store) -> None:
    """Whether the bindings came in one batch or in several."""
    lane = await Lane.open(store)
    asked = [ask(OPEN, serial=str(days), key="k", at_ms=NOW_MS + days * DAY_MS) for days in range(4)]
    created = await lane.process(*asked[:3])
    [replayed] = await lane.process(asked[2]._replace(timestamp_ms=NOW_MS + 3 * DAY_MS - 1))
    assert (replayed.value, replayed.passport_id) == (created[2].value, created[2].passport_id)
    [newest] = await lane.process(asked[3])
    [(_, passport_id, created_ms)] = (await books_of(store)).bindings.values()
    assert (passport_id, created_ms) == (newest.passport_id, NOW_MS + 3 * DAY_MS)


async def test_serials_are_kept_as_they_are(store: Store) -> None:
    """Neither case nor white space nor composed characters are folded."""
    lane = await Lane.open(store)
    serials = ["a", "A", "a ", " a", "\u00e9", "e\u0301", "\U0001f50b" * 100, "'; --", "\\x00", "\ufffe"]
    asked = [ask(OPEN, serial=serial) for serial in serials]
    assert await lane.verdicts(*asked) == ["created"] * len(serials)
    assert {serial for _, serial in (await books_of(store)).passports} == set(serials)
    assert await lane.verdicts(*asked) == ["409 serial_exists"] * len(serials)
