"""What is counted, and how it is shown: exemplars of sampled spans, and no lane that is somebody else's now."""

import asyncio
import urllib.request
from contextlib import suppress

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.workbench import get
from worker.observability.counting import Counting
from worker.observability.health import HealthServer
from worker.observability.metrics import Metrics
from worker.store.port import LaneName
from worker.tools.demo.embedded import HOST, free_port

NAME = LaneName("g", "t", 0)


def _exemplars(metrics: Metrics, family: str) -> list[dict[str, str]]:
    text = generate_latest(metrics.registry).decode()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    return [sample.exemplar.labels for sample in families[family].samples if sample.exemplar]


@pytest.mark.parametrize(("sampler", "shown"), [(ALWAYS_ON, True), (ALWAYS_OFF, False)], ids=["sampled", "unsampled"])
def test_a_step_under_a_sampled_span_shows_its_trace(sampler: Sampler, shown: bool) -> None:
    """A trace that nobody kept would lead nowhere."""
    metrics = Metrics()
    tracer = TracerProvider(sampler=sampler).get_tracer("test")
    with tracer.start_as_current_span("batch") as span, Counting(metrics).step("store"):
        pass
    context = span.get_span_context()
    expected = {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}
    assert _exemplars(metrics, "passport_batch_step_seconds") == ([expected] if shown else [])


def test_without_a_span_there_is_no_exemplar() -> None:
    """Tracing is off by default."""
    metrics = Metrics()
    with Counting(metrics).step("store"):
        pass
    assert _exemplars(metrics, "passport_batch_step_seconds") == []


def test_no_series_says_when_a_counter_was_made() -> None:
    """They would be half of all series, in both formats."""
    metrics = Metrics()
    assert "_created" not in generate_latest(metrics.registry).decode().replace("created-with", "")
    assert "_created" not in text_format(metrics.registry).decode()


class _Lane:
    """A lane that is a second older each time that somebody looks."""

    age = 0.0

    def records(self) -> float:
        """Seven, whenever."""
        return 7.0

    def seconds(self) -> float:
        """Counts how often it was asked."""
        self.age += 1
        return self.age


def test_a_lane_that_ends_late_takes_nothing_from_its_successor() -> None:
    """A rebalance cuts off a lane that hangs, and the partition may come back to the same worker meanwhile."""
    metrics, place, old, new = Metrics(), {"topic": "t", "partition": "0"}, _Lane(), _Lane()
    counting = Counting(metrics)
    for lane in (old, new):
        counting.lane_opens(NAME, lane)
        counting.lane_state(NAME, "running")
    counting.lane_closed(NAME, old)
    assert metrics.registry.get_sample_value("passport_lane_lag_records", place) == 7.0
    assert metrics.registry.get_sample_value("passport_lane_state", {**place, "state": "running"}) == 1.0


def test_a_lane_is_as_old_as_whoever_looks_finds_it_until_it_is_forgotten() -> None:
    """Its counters stay: a sum over workers must not fall."""
    metrics, place, lane = Metrics(), {"topic": "t", "partition": "0"}, _Lane()
    counting = Counting(metrics)
    counting.lane_opens(NAME, lane)
    value = metrics.registry.get_sample_value
    assert [value("passport_lane_lag_seconds", place) for _ in range(2)] == [1.0, 2.0]
    counting.lane_state(NAME, "running")
    counting.lane_closed(NAME, lane)
    assert value("passport_lane_lag_seconds", place) is None
    assert value("passport_lane_state", {**place, "state": "running"}) is None
    assert value("passport_lane_reopenings_total", place) == 0.0


@pytest.mark.parametrize("error", [None, TimeoutError()])
def test_a_server_is_up_while_it_answers(error: Exception | None) -> None:
    """Whatever comes instead of an answer."""
    metrics = Metrics()
    with suppress(TimeoutError), metrics.asking("kafka"):
        if error is not None:
            raise error
    assert metrics.registry.get_sample_value("passport_server_up", {"server": "kafka"}) == (error is None)


async def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    """Prometheus asks for OpenMetrics, which alone can show exemplars; a browser and curl get plain text."""
    port = free_port()
    server = HealthServer(HOST, port, list, list, Metrics().registry)
    await server.start()
    try:
        url = f"http://{HOST}:{port}/metrics"
        asked = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"})
        response = await asyncio.to_thread(lambda: urllib.request.urlopen(asked, timeout=5))
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert response.read().endswith(b"# EOF\n")
        status, plain = await asyncio.to_thread(get, url)
        assert (status, "# EOF" in plain) == (200, False)
        assert "# TYPE passport_outcomes_total counter" in plain
    finally:
        await server.close()
