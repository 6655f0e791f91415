"""The end of the demo in words: the counts, the check of the promise, and how to talk to it by hand."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from worker.tools.demo.makers import makers
from worker.tools.demo.play import Play
from worker.tools.demo.stage import Stage, exports
from worker.tools.demo.tally import percentile

RUN_AGAIN = "passport-worker run"
HOW_TO_KEEP = "`passport-worker demo --keep` leaves it all running, and prints how to send commands by hand."


def summary(play: Play) -> Iterator[str]:
    """Lines; the last says whether the promise was kept."""
    tally = play.tally
    sent, answered = len(tally.sent), len(tally.answered)
    yield "Outcomes"
    for (status, reason), count in sorted(tally.outcomes.items()):
        yield f"  {count:7,}  {status} {reason}"
    yield "Summary"
    yield f"  commands in     {sent:7,}"
    rate = answered / max(play.seconds, 0.001)
    yield f"  results out     {answered:7,}  in {play.seconds:.1f} s, {rate:.0f} a second"
    yield f"  dead letters    {tally.dead_letters():7,}  copies of what could not be read"
    latencies = [seconds * 1000 for seconds in tally.latencies]
    p50, p95 = percentile(latencies, 0.5), percentile(latencies, 0.95)
    yield f"  latency p50     {p50:7,.0f} ms, p95 {p95:,.0f} ms, from publishing to reading the committed result"
    if not play.breaches():
        yield f"Promise kept: {sent:,} in, {answered:,} out, none missing, none twice, order kept."


def by_hand(stage: Stage, console: str) -> Iterator[str]:
    """Lines to paste into a shell while everything runs: settings, a key and a product, and what to do with them.

    `console` is the address of its pages.
    """
    kafka, maker = stage.settings.kafka_bootstrap_servers, makers()[1]
    line = maker.lines[0]
    command = {"productId": line.product_id, "gs1": {"gtin": line.gtin, "serialNumber": "BY-HAND-1"}}
    yield "# By hand, in another shell, which needs these settings (and those PASSPORT_* of this one, where it has any)"
    yield f"  export PATH={quote(str(Path(sys.executable).parent))}:$PATH"
    yield from (f"  {line}" for line in exports(stage.environment))
    yield f"  export KAFKA_BOOTSTRAP_SERVERS={quote(kafka)} PASSPORT_API_KEY={maker.api_key}"
    yield f"# A command for product {line.product_id} of {maker.name}, and its result, as in the programs of the README"
    yield f"  echo '{json.dumps(command)}' |"
    yield f"    kcat -P -b $KAFKA_BOOTSTRAP_SERVERS -t {stage.settings.topic_commands} -k {line.gtin} \\"
    yield '      -H "authorization=Bearer $PASSPORT_API_KEY" -H idempotency-key=by-hand-1'
    yield f"  kcat -C -b $KAFKA_BOOTSTRAP_SERVERS -t {stage.settings.topic_created} -o -1 -e \\"
    yield "    -X isolation.level=read_committed -f '%h\\n%s\\n'"
    yield "# What it has done, how it is, and what it says"
    yield '  psql "$PASSPORT_DATABASE_URL" -c \\'
    yield "    'SELECT right(id::text, 24), gtin, serial, created_at FROM passport ORDER BY created_at DESC LIMIT 3'"
    yield f"  xdg-open {console} || open {console}"
    yield f"  curl {stage.worker.url}/readyz {stage.worker.url}/metrics"
    yield f"  cat {quote(str(stage.worker.log))}"
    yield "# The worker may be stopped, to replay results or to run another version; all else goes on"
    yield f"  kill {stage.worker.pid}"
    yield f"  {RUN_AGAIN}"
