"""The one place that wires a worker together."""

from collections.abc import Callable

from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.oauth.jwks import JwksSource
from worker.oauth.tokens import TokenVerifier
from worker.observability.counting import Counting
from worker.observability.metrics import Metrics
from worker.observability.minute_log import MinuteLog
from worker.observability.spans import Tracing
from worker.observability.together import together
from worker.observability.turn_log import TurnLog
from worker.service import Watchers, Worker
from worker.settings import Settings
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster
from worker.stream.command_reader import CommandReader
from worker.stream.dependencies import LaneDependencies


def make_worker(settings: Settings, tracing: Tracing | None = None) -> Worker:
    """A worker that nobody has started. Raises `CannotStart` under `python -O`."""
    metrics = Metrics()
    minutes = MinuteLog()
    # Spans first: samples show theirs.
    hooks = together(*([tracing] if tracing else []), Counting(metrics), TurnLog(), minutes)
    store = PostgresStore(settings.database_url, settings.database_pool_size)
    pipeline = Pipeline(store, settings.digital_link_base, hooks)
    shared = LaneDependencies(
        settings=settings,
        store=store,
        processor=Processor(pipeline, hooks),
        command_reader=CommandReader(settings.limits, _verifier(settings, metrics.keys_read), settings.audience),
        cluster=Cluster(settings),
        hooks=hooks,
    )
    return Worker(shared, store, Watchers(metrics, minutes, tracing))


def _verifier(settings: Settings, tell: Callable[[bool], None]) -> TokenVerifier | None:
    if not settings.oauth_jwks:
        return None
    assert settings.oauth_issuer is not None
    assert settings.oauth_audience is not None
    source = JwksSource(settings.oauth_jwks, tell=tell)
    return TokenVerifier(source, settings.oauth_issuer, settings.oauth_audience, settings.oauth_company_claim)
