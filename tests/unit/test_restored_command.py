"""A command that `lanes recover` restores is read as the worker read it."""

from tests.contract.world import LINK_BASE, OPEN, ask
from worker.domain.command import UnreadableRecord
from worker.domain.outcomes import Unreadable
from worker.messages.envelope import MOST_HEADERS, Limits, open_envelope, without_excess
from worker.messages.events import describe
from worker.tools.lanes.restored_command import restore

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_headers_that_the_worker_leaves_out_contradict_nothing() -> None:
    """Seen to fail: of a record with thousands of headers the worker keeps two of a name, and this read all of them.

    So any producer could make a database with its answer unrecoverable.
    """
    states = [("tracestate", b"a=%d" % number) for number in range(3)]
    more = [(f"x-{number}", b"") for number in range(MOST_HEADERS)]
    record = ask(OPEN)._replace(headers=[("traceparent", TRACE), *states, *more])
    command = open_envelope(without_excess(record, Limits()), Limits()).command
    assert isinstance(command.body, UnreadableRecord)
    assert command.trace is not None
    assert command.trace.tracestate == b"a=0,a=1"
    answer = describe(command, Unreadable(command.body.reason), LINK_BASE)
    assert restore(record, answer._replace(dead_letter=None), command.dead_letter).answer.trace == command.trace
