"""The exporter of a real worker process: a collector that takes spans, one that hangs, and none at all."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.spans import traceparent
from tests.workbench import REPOSITORY, Workbench, tenant, until
from worker import __version__
from worker.tools.demo.embedded import free_port

pytestmark = pytest.mark.real_kafka

PROTOBUF = "application/x-protobuf"


@dataclass
class Collector:
    """An OTLP/HTTP receiver; while it hangs it takes connections and requests, and answers none."""

    hangs: bool = False
    requests: list[bytes] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://127.0.0.1:{self.port}"

    async def take(self, request: web.Request) -> web.Response:
        """`POST /v1/traces`."""
        assert request.content_type == PROTOBUF
        self.headers.append(request.headers.get("x-token"))
        self.requests.append(await request.read())
        if self.hangs:
            await asyncio.sleep(60)
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=PROTOBUF)

    def exports(self) -> list[ExportTraceServiceRequest]:
        """What was sent, parsed."""
        return [ExportTraceServiceRequest.FromString(body) for body in self.requests]

    def names(self) -> list[str]:
        """First words of the names of all spans."""
        scopes = [scope for export in self.exports() for one in export.resource_spans for scope in one.scope_spans]
        return [span.name.split()[0] for scope in scopes for span in scope.spans]

    def resource(self) -> dict[str, str]:
        """The resource that the spans are of; there is only one."""
        (attributes,) = {_text(one.resource.attributes) for export in self.exports() for one in export.resource_spans}
        return dict(attributes)


def _text(attributes: "list[KeyValue]") -> tuple[tuple[str, str], ...]:
    return tuple((one.key, one.value.string_value) for one in attributes)


@asynccontextmanager
async def _collector(*, hangs: bool = False) -> AsyncIterator[Collector]:
    collector = Collector(hangs)
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        collector.port = runner.addresses[0][1]
        yield collector
    finally:
        await runner.cleanup()


def _traced(bench: Workbench, count: int) -> list[dict[str, object]]:
    commands = [bench.command(tenant(1), 40_123_451, f"SERIAL-{number}", partition=0) for number in range(count)]
    for number, command in enumerate(commands):
        headers = command["headers"]
        assert isinstance(headers, list)
        headers.append(("traceparent", traceparent(number + 1)))
    return commands


async def _stopped(bench: Workbench, worker: "subprocess.Popen[bytes]") -> float:
    """Seconds that a clean stop took."""
    started = time.monotonic()
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    return time.monotonic() - started


async def test_a_collector_gets_every_span_by_the_stop(bench: Workbench, tmp_path: Path) -> None:
    """Switched on by the standard variables; the queue is flushed though its time has not come, and no secret leaves.

    The headers that the operator gives for the collector reach it, and no log.
    """
    async with _collector() as collector:
        worker = bench.start_worker(
            tmp_path / "worker.log",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
            OTEL_EXPORTER_OTLP_HEADERS="x-token=collector-secret,another secret",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,service.instance.id=worker-7",
            OTEL_BSP_SCHEDULE_DELAY="60000",
        )
        await asyncio.to_thread(bench.publish, _traced(bench, 5))
        await bench.wait_for_results(5)
        assert collector.requests == []
        assert await _stopped(bench, worker) < 10
        names = collector.names()
    assert names.count("send") == 5
    assert {"open", "process", "decode", "store", "transaction", "gather", "decide", "write", "emit"} <= {*names}
    resource = collector.resource()
    assert resource["service.name"] == "passport-worker"
    assert resource["service.version"] == __version__
    assert resource["service.instance.id"] == "worker-7"
    assert resource["deployment.environment.name"] == "test"
    assert {*collector.headers} == {"collector-secret"}
    everything = b"\n".join(collector.requests)
    for secret in (b"SERIAL", b"4012345", tenant(1).authorization, tenant(1).company_id.encode()):
        assert secret not in everything
    log = (tmp_path / "worker.log").read_text()
    assert "secret" not in log


@pytest.mark.parametrize("how", ["hangs", "is away"])
async def test_a_collector_that_does_not_answer_delays_nobody(bench: Workbench, tmp_path: Path, how: str) -> None:
    """Results come as ever, though the queue is full, and the stop is in time; what was not taken is lost, and said."""
    log = tmp_path / "worker.log"
    async with _collector(hangs=True) as collector:
        endpoint = collector.endpoint if how == "hangs" else f"http://127.0.0.1:{free_port()}"
        worker = bench.start_worker(
            log,
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_SERVICE_NAME="another-name",
            OTEL_BSP_SCHEDULE_DELAY="100",
            OTEL_BSP_MAX_QUEUE_SIZE="20",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10",
        )
        await asyncio.to_thread(bench.publish, _traced(bench, 100))
        await bench.wait_for_results(100)
        if how == "hangs":
            await until(lambda: bool(collector.requests), 10, "a request that is not answered")
            assert collector.resource()["service.name"] == "another-name"
        started = time.monotonic()
        await asyncio.to_thread(bench.publish, _traced(bench, 200)[100:])
        await bench.wait_for_results(200)
        assert time.monotonic() - started < 9  # an export that hangs ends after 10 s
        assert await _stopped(bench, worker) < 6
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert "traces_not_handed_over" in [line["event"] for line in lines]
    assert lines[-1]["event"] == "stopped"


def _run_without_sdk(**environment: str) -> subprocess.CompletedProcess[str]:
    """`passport-worker run` where the extra is not installed."""
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from worker.tools.cli.main import main; main(['run'])"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_traces_without_the_extra_are_a_bad_setting(bench: Workbench) -> None:
    """It says what to install, and exits with 2; who asks for no traces needs no extra."""
    done = _run_without_sdk(**bench.environment, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    assert done.returncode == 2
    assert "pip install '.[otel]'" in done.stderr
    environment = {**bench.environment, "PASSPORT_TOPIC_CREATED": "nobody.made.this"}
    done = _run_without_sdk(**environment)
    assert (done.returncode, "nobody.made.this" in done.stderr) == (1, True), done.stderr


def test_a_protocol_that_is_not_spoken_is_a_bad_setting(bench: Workbench) -> None:
    """Many platforms hand out gRPC addresses; spoken to in HTTP, they would take nothing and say nothing."""
    done = _run_without_sdk(
        **bench.environment, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4317", OTEL_EXPORTER_OTLP_PROTOCOL="grpc"
    )
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf" in done.stderr
