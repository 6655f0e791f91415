"""When spans are exported: what the standard `OTEL_*` variables ask for, and what cannot be had."""

import os

import pytest

from worker.observability.otlp import CannotTrace, _asked_for, tracing_from_environment

OTLP = {"OTEL_TRACES_EXPORTER": "otlp"}
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, False),
        (OTLP, True),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_TRACES_EXPORTER": "none", **ENDPOINT}, False),
        ({"OTEL_TRACES_EXPORTER": "", **ENDPOINT}, True),
        ({"OTEL_SDK_DISABLED": "True", **OTLP}, False),
        ({"OTEL_SDK_DISABLED": "false", **OTLP}, True),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, False),
    ],
)
def test_traces_are_on_where_a_collector_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], asked: bool
) -> None:
    """By exporter or endpoint; an empty variable counts as none, as the specification says."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _asked_for() is asked


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: expected otlp or none"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: expected"),
        ({**OTLP, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100000"}, "OTEL_\\*: .*max_export_batch_size"),
    ],
)
def test_what_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str) -> None:
    """A collector that is spoken to in the wrong protocol would get nothing, and nobody would notice."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CannotTrace, match=told):
        tracing_from_environment()
