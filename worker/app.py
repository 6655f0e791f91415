"""Wires a worker together. No other module creates the parts of a worker."""

from worker.auth.access_tokens import TokenVerifier
from worker.auth.jwks import JwksSource, is_url
from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.observability.counting import Counting
from worker.observability.day_log import DayLog
from worker.observability.hooks import together
from worker.observability.metrics import Metrics
from worker.observability.minute_log import MinuteLog
from worker.observability.spans import Tracing
from worker.observability.turn_log import TurnLog
from worker.service import Watchers, Worker
from worker.settings import Settings
from worker.store.key_sets import KeptKeySet
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster
from worker.stream.command_reader import CommandReader
from worker.stream.dependencies import LaneDependencies


def make_worker(settings: Settings, tracing: Tracing | None = None) -> Worker:
    """Make a worker, not started yet. Raises `CannotStart` under `python -O`."""
    metrics = Metrics()
    minutes, days = MinuteLog(), DayLog()
    # Tracing must be first, so that samples of metrics can refer to the current span.
    hooks = together(*([tracing] if tracing else []), Counting(metrics), TurnLog(), minutes, days)
    store = PostgresStore(settings.database, settings.database_pool_size)
    verifier = make_verifier(settings, metrics, store)
    pipeline = Pipeline(store, settings.digital_link_base, hooks)
    shared = LaneDependencies(
        settings=settings,
        store=store,
        processor=Processor(pipeline, hooks),
        command_reader=CommandReader(settings.limits, verifier, settings.signature_audience, settings.channel_of_topic),
        cluster=Cluster(settings),
        hooks=hooks,
    )
    return Worker(shared, store, Watchers(metrics, minutes, days, tracing), verifier)


def make_verifier(settings: Settings, metrics: Metrics, store: PostgresStore) -> TokenVerifier | None:
    """The verifier of access tokens; None while OAuth is off."""
    if not settings.oauth_jwks:
        return None
    assert settings.oauth_issuer is not None
    assert settings.oauth_audience is not None
    # Only a URL needs a copy in Postgres: its server can be away when the worker starts.
    kept = KeptKeySet(store, settings.oauth_issuer, settings.oauth_jwks) if is_url(settings.oauth_jwks) else None
    source = JwksSource(settings.oauth_jwks, on_read=metrics.keys_read, kept=kept)
    return TokenVerifier(
        source,
        settings.oauth_issuer,
        settings.oauth_audience,
        settings.oauth_company_claim,
        allow_any_type=settings.oauth_allow_any_typ,
    )
