"""The end of the demo in words: the counts, the check of the promise, and how to talk to it by hand."""

import json
from collections.abc import Iterator

from worker.demo.makers import makers
from worker.demo.play import Play
from worker.demo.stage import POSTGRES, Stage
from worker.demo.tally import percentile


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


def by_hand(stage: Stage, keep: bool) -> Iterator[str]:
    """Commands to paste into a shell: generic tools, nothing of ours."""
    settings, maker = stage.settings, makers()[1]
    line = maker.lines[0]
    known = json.dumps({"gtin": line.gtin, "serialNumber": "BY-HAND-1"})
    yield "By hand" if keep else "By hand (`passport-worker demo --keep` leaves it running and prints the addresses)"
    yield f"  KAFKA={settings.kafka_bootstrap_servers if keep else '<address of the broker>'}"
    yield f'  echo \'{{"productId": "{line.product_id}", "gs1":\' \\'
    yield f"       '{known}}}' |"
    yield f"    kcat -P -b $KAFKA -t {settings.topic_commands} -k {line.gtin} \\"
    yield f"      -H 'authorization=Bearer {maker.api_key}' -H 'idempotency-key=by-hand-1'"
    yield f"  kcat -C -b $KAFKA -t {settings.topic_created} -o -1 -e \\"
    yield "    -X isolation.level=read_committed -f '%h\\n%s\\n'"
    if keep:
        yield from _addresses(stage)


def _addresses(stage: Stage) -> Iterator[str]:
    database = stage.settings.database_url if POSTGRES in stage.embedded else '"$PASSPORT_DATABASE_URL"'
    yield f"  psql {database} -c 'SELECT id, gtin, serial, created_at FROM passport ORDER BY created_at DESC LIMIT 3'"
    yield f"  curl {stage.worker.url}/readyz {stage.worker.url}/metrics"
    yield f"  logs of the worker: {stage.worker.log}"
