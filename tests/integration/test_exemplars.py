"""From a figure to a trace: what is scraped names the spans that were exported."""

import asyncio
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.integration.guards_helpers import changed, publish, running
from tests.spans import context_of, spans_in_memory
from tests.workbench import Workbench, tenant
from worker.tools.demo.embedded import HOST, free_port

pytestmark = pytest.mark.real_kafka


def _exemplars(port: int) -> dict[str, set[str]]:
    """Trace ids by family, as Prometheus gets them."""
    asked = urllib.request.Request(
        f"http://{HOST}:{port}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
    )
    with urllib.request.urlopen(asked, timeout=5) as response:
        families = text_string_to_metric_families(response.read().decode())
        return {
            family.name: {sample.exemplar.labels["trace_id"] for sample in family.samples if sample.exemplar}
            for family in families
        }


async def test_exemplars_lead_to_traces_that_exist(bench: Workbench) -> None:
    """Of steps, batches, outcomes and Postgres transactions."""
    spans, port = spans_in_memory(), free_port()
    settings = changed(bench.settings, http_port=port)
    async with running(bench, settings=settings, tracing=spans.tracing) as one:
        await publish(bench, [bench.command(tenant(1), 1, f"unit-{n}", partition=0) for n in range(5)])
        await one.emitted(5)
        found = await asyncio.to_thread(_exemplars, port)
    exported = {f"{context_of(span).trace_id:032x}" for span in spans.all()}
    for name in ("batch_step_seconds", "batch_records", "batch_delay_seconds", "transaction_seconds", "outcomes"):
        assert found[f"passport_{name}"], name
        assert found[f"passport_{name}"] <= exported, name
