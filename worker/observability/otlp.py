"""Exports spans to an OTLP collector, if the standard `OTEL_*` variables ask for it. Needs the extra `otel`."""

import os
from uuid import uuid4

from worker import __version__
from worker.observability.spans import Tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


class CannotTrace(Exception):
    """The environment asks for traces that the worker cannot export. The text says what to do."""


def tracing_from_environment() -> Tracing | None:
    """Tracing as the environment configures it, or None if it asks for no traces. Raises `CannotTrace`."""
    if not _asked_for():
        return None
    for name in _PROTOCOLS:
        if _variable(name) not in ("", _SPOKEN):
            raise CannotTrace(f"{name}: expected {_SPOKEN}, the only protocol that the worker speaks")
    try:
        return _exporting()
    except ImportError as error:
        raise CannotTrace(
            "traces need more packages. Run pip install '.[otel]' in a checkout of passport-worker, or unset OTEL_*"
        ) from error
    except ValueError as error:
        raise CannotTrace(f"OTEL_*: {error}") from error


def _asked_for() -> bool:
    # The SDK would export by default. A worker without a collector should not look for one.
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        return False
    exporter = _variable("OTEL_TRACES_EXPORTER")
    if exporter not in ("", "otlp", "none"):
        raise CannotTrace("OTEL_TRACES_EXPORTER: expected otlp or none")
    return exporter == "otlp" or (exporter == "" and any(map(_variable, _ENDPOINTS)))


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _exporting() -> Tracing:
    """Export from a thread, so that a full queue drops spans and delays nothing.

    The SDK reads endpoint, headers, sampler, limits and queue size from the environment.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {"service.name": "passport-worker", "service.version": __version__, "service.instance.id": str(uuid4())}
    # `create` lets our names win over OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES; the merge reverses that.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    # At exit, the SDK would wait for a collector that hangs. `Tracing.close` waits for a bounded time.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider, provider.shutdown)
