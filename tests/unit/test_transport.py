"""Whether what is secret goes over the wire in clear, and whether who answers has to prove who it is."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from worker.app import make_worker
from worker.preflight import Preflight, findings
from worker.service import Worker
from worker.settings import Settings
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster


def _settings(**changes: Any) -> Settings:
    return Settings(oauth_issuer="i", oauth_audience="a", **changes)


@pytest.mark.parametrize(
    ("location", "status"),
    [
        (None, "skipped"),
        ("https://keys.example.eu/jwks", "ok"),
        ("HTTPS://keys.example.eu/jwks", "ok"),
        ("/etc/jwks.json", "ok"),
        ("http://keys.example.eu/jwks", "warning"),
        ("HTTP://w:hunter2@keys.example.eu/jwks", "warning"),
    ],
)
async def test_a_key_set_over_plain_http_is_unusual(location: str | None, status: str) -> None:
    """Whoever is on the way can put in a key of their own. What `doctor` and the start of a worker say of it."""
    settings = _settings(oauth_jwks=location)
    checks = Preflight(settings, PostgresStore(settings.database_url, 1), Cluster(settings)).of_settings
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
