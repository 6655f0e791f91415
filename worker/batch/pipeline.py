"""A turn through the line: command → facts → outcome → answer, for all lanes in one Postgres transaction."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from worker.auth.signatures import Verifier
from worker.batch.batch import Batch
from worker.domain.command import Command, CreatePassport
from worker.domain.decide import decide
from worker.domain.facts import Facts
from worker.domain.outcomes import Created, Outcome
from worker.messages.events import RECORD_BYTES, Answer, describe
from worker.observability.hooks import CommittedTransaction, Hooks
from worker.store.port import BatchTooLarge, Store

# An estimate of an answer's bytes, besides those of its command and of the product's fields.
ANSWER_OVERHEAD_BYTES = 512
# All answers of a transaction are in memory at once, in several forms. Twice this bound took a worker to 210 MB instead
# of 168, with commands of 700 bytes and a hundred faults each.
TURN_ANSWER_BYTES = 4 * 1024 * 1024


class AnswerTooLarge(Exception):
    """A result is too large to be published, headers included, for example because of the fields of its product."""


class Decided(NamedTuple):
    """Decisions on some commands: the passports created, the other outcomes, and an answer to each command."""

    created: list[Created]
    others: list[Outcome]
    answers: list[Answer]


class Pipeline:
    """Decides turns over a store. `digital_link_base` is the URL that GS1 Digital Links start with."""

    def __init__(self, store: Store, digital_link_base: str, hooks: Hooks | None = None) -> None:
        self._store = store
        self._digital_link_base = digital_link_base
        self._hooks = hooks or Hooks()
        self._verifier = Verifier()

    async def transaction(self, turn: Sequence[Batch]) -> None:
        """Commit the effects of batches of different lanes, in this order, and add their answers to them.

        Raises `OutOfPlace`, the errors of `worker.store.port`, and any exception that the data of a record causes.
        """
        for batch in turn:
            batch.check_offsets()
        commands = [command for batch in turn for command in batch.commands]
        lap = self._hooks.stopwatch()
        facts = await self._store.look_up(commands, TURN_ANSWER_BYTES)
        lap("look-up")
        # The estimate comes before the transaction, so that a turn that is too large takes no locks.
        if len(commands) > 1 and _size_ahead(turn, facts) > TURN_ANSWER_BYTES:
            raise BatchTooLarge
        # Also before the transaction: a hundred signatures take some 6 ms, and no lane stays locked for them.
        if facts.signing_keys:
            await self._verifier.make_ready(commands, facts)
            lap("verify")
        with self._hooks.transaction("postgresql", len(commands)):
            began, lap = time.perf_counter(), self._hooks.stopwatch()
            async with self._store.transaction([batch.expected for batch in turn], commands, facts) as transaction:
                lap("gather")
                created, others, answers = decide_all(commands, facts, self._digital_link_base)
                remaining = iter(answers)
                by_lane = [list(islice(remaining, len(batch.commands))) for batch in turn]
                lap("decide")
                await transaction.record(created, by_lane, [batch.stop for batch in turn])
                lap("write")
            lap("commit")
            # Only after the commit: a batch that was rolled back must not look answered.
            for batch, lane_answers in zip(turn, by_lane, strict=True):
                batch.answers = lane_answers
            seconds = time.perf_counter() - began
            self._hooks.committed(CommittedTransaction(len(turn), created, others, facts.companies, seconds))


def decide_all(commands: Sequence[Command], facts: Facts, digital_link_base: str) -> Decided:
    """Decide commands in order; each one sees the passports that those before it created.

    Raises `AnswerTooLarge`, and `BatchTooLarge` if fewer commands may fit.
    """
    created: list[Created] = []
    others: list[Outcome] = []
    answers: list[Answer] = []
    size = 0
    for command in commands:
        outcome = decide(command, facts)
        answer = describe(command, outcome, digital_link_base)
        # Key and headers count, too. If the ledger held an answer that no topic takes, its lane would stop for good.
        if answer.record_bytes > RECORD_BYTES:
            raise AnswerTooLarge(f"an answer of {answer.record_bytes} bytes fits into no result topic")
        if isinstance(outcome, Created):
            facts.absorb(outcome, answer.value)
            created.append(outcome)
        else:
            others.append(outcome)
        answers.append(answer)
        size += len(answer.value)
        # The estimate does not know replayed events, so the answers themselves are counted, too.
        if size > TURN_ANSWER_BYTES and len(commands) > 1:
            raise BatchTooLarge
    return Decided(created, others, answers)


def _size_ahead(turn: Sequence[Batch], facts: Facts) -> int:
    """Estimate the bytes of all answers before any of them is made."""
    size = sum(ANSWER_OVERHEAD_BYTES + len(record.value or b"") for batch in turn for record in batch.records)
    for batch in turn:
        for command in batch.commands:
            if isinstance(command.body, CreatePassport) and command.body.product_id in facts.products:
                size += len(facts.products[command.body.product_id].seeded.json)
    return size
