"""Kafka's passwords, tokens and certificates are exchanged while commands come: no restart, nothing lost or doubled.

The broker ends each connection after some seconds, unless the worker exchanges it before.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.client import AIOKafkaClient

from tests.infrastructure.certificates import Authority
from tests.infrastructure.issuer import Issuer
from tests.infrastructure.secure_kafka import USER
from tests.infrastructure.token_kafka import REAUTHENTICATE_SECONDS, TokenKafka, token_kafka
from tests.invariants import check_invariants
from tests.workbench import Workbench, get, make_workbench, run_command, settings_of, tenant, until
from worker.stream.aiokafka_internals import MetadataRequest
from worker.stream.cluster.connection import client_options
from worker.tools.demo.embedded import HOST, free_port

pytestmark = pytest.mark.real_kafka

ROUNDS = 2


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Of this file's own."""
    with Issuer(USER, uuid4().hex) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def kafka(issuer: Issuer) -> Iterator[TokenKafka]:
    """A broker of this file's own."""
    with token_kafka(issuer) as kafka:
        yield kafka


@pytest.fixture
async def bench(kafka: TokenKafka, database_url: str, kafka_prefix: str) -> AsyncIterator[Workbench]:
    """Topics are made, and results read, by the listener without passwords."""
    bench = await make_workbench(kafka.bootstrap_servers, database_url, kafka_prefix)
    yield bench
    await asyncio.to_thread(bench.kill_workers)


@pytest.fixture
def tokens(kafka: TokenKafka) -> dict[str, str]:
    """Settings for the listener of tokens, but for where they come from."""
    return {
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": kafka.token_servers,
        "PASSPORT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "PASSPORT_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "PASSPORT_KAFKA_SSL_CAFILE": str(kafka.authority.file),
    }


@pytest.fixture
def endpoint(issuer: Issuer, tokens: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings for tokens of the token endpoint."""
    (tmp_path / "client-secret").write_text(issuer.secret)
    yield {
        **tokens,
        "PASSPORT_KAFKA_OAUTH_TOKEN_URL": f"{issuer.url}/token",
        "PASSPORT_KAFKA_OAUTH_CLIENT_ID": USER,
        "PASSPORT_KAFKA_OAUTH_CLIENT_SECRET_FILE": str(tmp_path / "client-secret"),
        "PASSPORT_KAFKA_OAUTH_SCOPE": "kafka",
    }
    issuer.is_away, issuer.token_seconds = False, 600


def _exchange(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


async def _answer(bench: Workbench, count: int, done: int) -> int:
    """Have so many commands answered; the number of results since the beginning."""
    commands = [bench.command(tenant(n % 10), n % 10, f"{done}-{n}", partition=n % 2) for n in range(count)]
    await asyncio.to_thread(bench.publish, commands)
    await bench.wait_for_results(done + count, 30)
    return done + count


async def _work(bench: Workbench, seconds: float, done: int) -> int:
    """Have commands answered for so long."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done = await _answer(bench, 20, done)
    return done


def _assert_undisturbed(log: Path) -> None:
    """No session ended: every connection was exchanged before the broker ended it.

    Servers that answer late before the worker joins, on a busy machine, disturb nothing.
    """
    _, joined, lines = log.read_text().partition('"event": "assigned"')
    assert joined
    disturbed = [line for line in lines.splitlines() if '"level": "warning"' in line or '"level": "error"' in line]
    assert not disturbed, "\n".join(disturbed[:20])


async def test_no_request_fails_where_connections_grow_old(kafka: TokenKafka) -> None:
    """Seen to fail without guard B24: the first request after the broker's limit met a connection that it ended."""
    client = AIOKafkaClient(**client_options(settings_of(kafka.worker_environment())))
    await client.bootstrap()
    try:
        ends = time.monotonic() + 2 * REAUTHENTICATE_SECONDS
        while time.monotonic() < ends:
            await client.send(kafka.node_id, MetadataRequest([]))
            await asyncio.sleep(0.05)
        await asyncio.sleep(REAUTHENTICATE_SECONDS + 1)  # nothing is sent: the limit passes unasked
        await client.send(kafka.node_id, MetadataRequest([]))
    finally:
        await client.close()


async def test_passwords_change_while_the_worker_works(bench: Workbench, kafka: TokenKafka, tmp_path: Path) -> None:
    """Connections are exchanged unnoticed; after a broker's restart the worker comes back with the newest password."""
    file, log = tmp_path / "password", tmp_path / "worker.log"
    environment = {**kafka.worker_environment(), "PASSPORT_KAFKA_SASL_PASSWORD_FILE": str(file)}
    del environment["PASSPORT_KAFKA_SASL_PASSWORD"]
    file.write_text(kafka.password)
    worker = bench.start_worker(log, **environment)
    done = await _answer(bench, 50, 0)
    for _ in range(ROUNDS):
        kafka.set_password(uuid4().hex)
        _exchange(file, f"{kafka.password}\n")
        done = await _work(bench, REAUTHENTICATE_SECONDS + 1, done)
    await asyncio.sleep(REAUTHENTICATE_SECONDS + 1)  # nothing to do: connections grow too old unasked
    done = await _answer(bench, 50, done)
    _assert_undisturbed(log)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)


@pytest.mark.long
async def test_a_password_file_that_comes_late_is_waited_for(
    bench: Workbench, kafka: TokenKafka, tmp_path: Path
) -> None:
    """The broker knows the new password, and ends the connections: the worker stays up and says why."""
    file, port = tmp_path / "password", free_port()
    environment = {**kafka.worker_environment(), "PASSPORT_KAFKA_SASL_PASSWORD_FILE": str(file)}
    del environment["PASSPORT_KAFKA_SASL_PASSWORD"]
    file.write_text(kafka.password)
    worker = bench.start_worker(tmp_path / "worker.log", **environment, PASSPORT_HTTP_PORT=str(port))
    done = await _answer(bench, 50, 0)
    kafka.set_password(uuid4().hex)
    said = "invalid credentials"
    await until(lambda: said in get(f"http://{HOST}:{port}/readyz")[1], 4 * REAUTHENTICATE_SECONDS, said)
    _exchange(file, kafka.password)
    await _answer(bench, 50, done)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)


@pytest.mark.long
async def test_a_token_file_that_somebody_renews(
    bench: Workbench, tokens: dict[str, str], issuer: Issuer, tmp_path: Path
) -> None:
    """Tokens live for a moment, as those of a service account; the file always has a good one."""
    file, log = tmp_path / "token", tmp_path / "worker.log"
    file.write_text(issuer.token(4))

    async def renew() -> None:
        while True:
            await asyncio.sleep(1)
            _exchange(file, issuer.token(4))

    renewing = asyncio.create_task(renew())
    worker = bench.start_worker(log, **tokens, PASSPORT_KAFKA_OAUTH_TOKEN_FILE=str(file))
    done = await _work(bench, 3 * REAUTHENTICATE_SECONDS, 0)
    await asyncio.sleep(REAUTHENTICATE_SECONDS)
    await _answer(bench, 50, done)
    renewing.cancel()
    _assert_undisturbed(log)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)


@pytest.mark.long
async def test_tokens_of_a_token_endpoint(
    bench: Workbench, endpoint: dict[str, str], issuer: Issuer, tmp_path: Path
) -> None:
    """They are renewed before they expire, also while the endpoint is away for a moment; its secret changes, too."""
    log = tmp_path / "worker.log"
    issuer.token_seconds = 8
    before = len(issuer.issued)
    worker = bench.start_worker(log, **endpoint)
    done = await _work(bench, 2 * issuer.token_seconds, 0)
    issuer.secret = uuid4().hex
    _exchange(tmp_path / "client-secret", issuer.secret)
    done = await _work(bench, 2 * issuer.token_seconds, done)
    _assert_undisturbed(log)
    assert issuer.asked[-1] == {"grant_type": "client_credentials", "scope": "kafka"}
    issued = len(issuer.issued) - before
    assert 4 <= issued <= 10, f"{issued} tokens, which the clients of a process share"
    issuer.is_away = True
    await asyncio.sleep(issuer.token_seconds + 4)
    issuer.is_away = False
    done = await _work(bench, issuer.token_seconds, done)
    assert bench.stop_worker(worker) == 0
    shown = log.read_text()
    assert "kafka_token_not_renewed" in shown
    assert not [secret for secret in (issuer.secret, *issuer.issued) if secret in shown]
    await check_invariants(bench)


async def test_what_is_refused_is_said(
    bench: Workbench, tokens: dict[str, str], endpoint: dict[str, str], issuer: Issuer, tmp_path: Path
) -> None:
    """By the broker, of a token, and by the endpoint, of a client; an endpoint that is away is waited for."""
    (tmp_path / "token").write_text(issuer.token(-60))
    environment = {**bench.environment, **tokens, "PASSPORT_KAFKA_OAUTH_TOKEN_FILE": str(tmp_path / "token")}
    done = await asyncio.to_thread(run_command, "run", **environment)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "Kafka cannot be used with these PASSPORT_KAFKA_* settings" in last
    assert "the broker refuses the token" in last
    (tmp_path / "client-secret").write_text("wrong")
    done = await asyncio.to_thread(run_command, "run", **{**bench.environment, **endpoint})
    assert done.returncode == 1
    assert f"gives client {USER} no token: invalid_client" in done.stderr.splitlines()[-1]
    (tmp_path / "client-secret").write_text(issuer.secret)
    issuer.is_away = True
    port = free_port()
    worker = bench.start_worker(tmp_path / "worker.log", **endpoint, PASSPORT_HTTP_PORT=str(port))
    said = f"no token from {issuer.url.removeprefix('http://')}: HTTP status 503"
    await until(lambda: said in get(f"http://{HOST}:{port}/readyz")[1], 20, said)
    issuer.is_away = False
    await _answer(bench, 50, 0)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)


@pytest.mark.long
async def test_all_certificates_are_of_another_authority(bench: Workbench, kafka: TokenKafka, tmp_path: Path) -> None:
    """The broker comes back with a new certificate and asks for new ones: the worker has them, without a restart."""
    bundle, certificate, key = tmp_path / "bundle.crt", tmp_path / "client.crt", tmp_path / "client.key"

    def exchange(*authorities: str) -> None:
        issued = kafka.authority.issue("client")
        _exchange(bundle, "".join(authorities))
        _exchange(key, issued[1].read_text())
        _exchange(certificate, issued[0].read_text())

    exchange(old := kafka.authority.file.read_text())
    worker = bench.start_worker(
        tmp_path / "worker.log",
        **{
            **kafka.worker_environment(),
            "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": kafka.mutual_servers,
            "PASSPORT_KAFKA_SSL_CAFILE": str(bundle),
            "PASSPORT_KAFKA_SSL_CERTFILE": str(certificate),
            "PASSPORT_KAFKA_SSL_KEYFILE": str(key),
        },
    )
    done = await _answer(bench, 50, 0)
    await asyncio.to_thread(kafka.stop)
    kafka.use(Authority(kafka.authority.file.parent))
    exchange(old, kafka.authority.file.read_text())
    await asyncio.to_thread(kafka.start)
    done = await _answer(bench, 50, done)
    exchange(kafka.authority.file.read_text())
    await asyncio.to_thread(kafka.stop)
    await asyncio.to_thread(kafka.start)
    await _answer(bench, 50, done)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)
