"""The one place that wires a worker together."""

from collections.abc import Callable

from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.oauth.jwks import JwksSource
from worker.oauth.tokens import TokenVerifier
from worker.observability.spans import NO_TRACING, Tracing
from worker.observability.telemetry import Telemetry
from worker.service import Worker
from worker.settings import Settings
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster
from worker.stream.command_reader import CommandReader
from worker.stream.dependencies import LaneDependencies


def make_worker(settings: Settings, tracing: Tracing = NO_TRACING) -> Worker:
    """A worker that nobody has started. Raises `CannotStart` under `python -O`."""
    telemetry = Telemetry(tracing)
    store = PostgresStore(settings.database_url, settings.database_pool_size)
    pipeline = Pipeline(store, settings.digital_link_base, telemetry, tracing)
    shared = LaneDependencies(
        settings=settings,
        store=store,
        processor=Processor(pipeline, tracing),
        command_reader=CommandReader(settings.limits, _verifier(settings, telemetry.keys_read)),
        cluster=Cluster(settings),
        hooks=telemetry,
        tracing=tracing,
    )
    return Worker(shared, store, telemetry)


def _verifier(settings: Settings, tell: Callable[[bool], None]) -> TokenVerifier | None:
    if not settings.oauth_jwks:
        return None
    assert settings.oauth_issuer is not None
    assert settings.oauth_audience is not None
    source = JwksSource(settings.oauth_jwks, tell=tell)
    return TokenVerifier(source, settings.oauth_issuer, settings.oauth_audience, settings.oauth_company_claim)
