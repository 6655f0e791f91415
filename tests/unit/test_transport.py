"""Whether what is secret goes over the wire in clear, and whether who answers has to prove who it is."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from worker.app import make_worker
from worker.preflight import Preflight, findings
from worker.service import Worker
from worker.settings import Settings
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster
from worker.tools.doctor.protection import Protection, Way, protection_of, protection_of_brokers, way_to


@pytest.mark.parametrize(
    ("host", "way"),
    [
        *((host, Way.LOOPBACK) for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]")),
        *((host, Way.NETWORK) for host in ("10.0.0.5", "0.0.0.0", "::", "localhost.eu", "kafka", "127.0.0.1.nip.io")),
    ],
)
def test_what_is_near_is_told_by_its_name(host: str, way: Way) -> None:
    """Names are not looked up: they may lead elsewhere the next time."""
    assert way_to(host) is way


@pytest.mark.parametrize(
    ("peer", "way"),
    [
        (("127.0.0.1", 5432), Way.LOOPBACK),
        (("::1", 5432, 0, 0), Way.LOOPBACK),
        (("10.0.0.5", 5432), Way.NETWORK),
        ("/run/postgresql/.s.PGSQL.5432", Way.SOCKET),
        ("", Way.SOCKET),
        (None, Way.NETWORK),
    ],
)
def test_the_way_of_a_connection_is_its_peer(peer: object, way: Way) -> None:
    """As asyncio tells it; a socket of this machine needs no TLS, and asyncpg uses none on it."""
    told = {"peername": peer, "ssl_object": None}
    connection = SimpleNamespace(_transport=SimpleNamespace(get_extra_info=told.get))
    assert protection_of(cast(Any, connection)) == Protection(way, False, False)


@pytest.mark.parametrize(
    ("protocol", "bootstrap", "broker", "expected"),
    [
        ("PLAINTEXT", "localhost:9092,[::1]:9092", "127.0.0.1", Protection(Way.LOOPBACK, False, False)),
        ("PLAINTEXT", "localhost:9092", "kafka-1.example.eu", Protection(Way.NETWORK, False, False)),
        ("SASL_PLAINTEXT", "kafka:9092", "127.0.0.1", Protection(Way.NETWORK, False, False)),
        ("SSL", "kafka:9093", "10.0.0.5", Protection(Way.NETWORK, True, True)),
        ("SASL_SSL", "localhost:9093", "localhost", Protection(Way.LOOPBACK, True, True)),
    ],
)
async def test_brokers_are_near_where_all_of_them_are(
    protocol: str, bootstrap: str, broker: str, expected: Protection
) -> None:
    """A client goes on to the addresses that brokers tell it, wherever it began."""

    class Brokers:
        async def ask(self, request: object) -> "Brokers":
            return self

        def to_object(self) -> dict[str, object]:
            return {"brokers": [{"host": broker}]}

    settings = cast(Settings, SimpleNamespace(kafka_security_protocol=protocol, kafka_bootstrap_servers=bootstrap))
    assert await protection_of_brokers(cast(Cluster, Brokers()), settings) == expected


def _settings(**changes: Any) -> Settings:
    return Settings(oauth_issuer="i", oauth_audience="a", **changes)


@pytest.mark.parametrize(
    ("location", "status"),
    [
        (None, "skipped"),
        ("https://keys.example.eu/jwks", "ok"),
        ("HTTPS://keys.example.eu/jwks", "ok"),
        (__file__, "ok"),
        ("/nowhere/jwks.json", "warning"),
        ("htps://keys.example.eu/jwks", "warning"),
        ("http://keys.example.eu/jwks", "warning"),
        ("HTTP://w:hunter2@keys.example.eu/jwks", "warning"),
    ],
)
async def test_a_key_set_over_plain_http_is_unusual(location: str | None, status: str) -> None:
    """Whoever is on the way can put in a key of their own. What `doctor` and the start of a worker say of it.

    A file that is missing, or a URL that is none, was told as a file: then all tokens were refused.
    """
    settings = _settings(oauth_jwks=location)
    checks = Preflight(settings, PostgresStore(settings.database, 1), Cluster(settings)).of_settings
    (found,) = await findings(checks)
    assert (found.id, found.status) == ("oauth.tls", status)
    assert ("PASSPORT_OAUTH_JWKS" in found.advice) is (status == "warning")
    assert "hunter2" not in str(found)


async def test_a_start_warns_of_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it waits for its servers. Seen to say nothing."""
    answers = iter([False, False, True])

    async def check_servers(_: Worker) -> None:
        if not next(answers):
            raise ConnectionError

    monkeypatch.setattr(Worker, "_check_servers", check_servers)
    worker = make_worker(_settings(oauth_jwks="http://keys.example.eu/jwks"))
    with capture_logs() as lines:
        await worker._prepare()
    (line,) = [line for line in lines if line["event"] == "unusual"]
    assert (line["check"], line["log_level"]) == ("oauth.tls", "warning")
    assert next(answers, None) is None
