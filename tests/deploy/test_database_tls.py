"""Pods talk to the PostgreSQL that their authority vouches for, and to no other."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.deploy.manifests import containers, environment, pods, rendered
from tests.infrastructure.certificates import Authority
from tests.workbench import run_command
from worker.store.database import Database
from worker.store.port import StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.tools.demo.embedded import HOST, EmbeddedPostgres
from worker.tools.doctor.protection import Protection, Way, protection_of


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture
async def port(own_postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[int]:
    """Where a real PostgreSQL is reached by TLS alone: the wheel's was built without, so the end of it stands in front.

    The certificate is for the address, and not for the name `localhost`; who signed it is `ca.crt`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*Authority(tmp_path).issue("server"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)  # SSLRequest, the first that a client sends
        writer.write(b"S")
        try:
            await writer.start_tls(context)
        except (ssl.SSLError, ConnectionError):
            return
        behind = await asyncio.open_connection(HOST, own_postgres.port)
        await asyncio.gather(_pipe(reader, behind[1]), _pipe(behind[0], writer))

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_doctor_sees_how_a_connection_is_protected(
    port: int, own_postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the connection itself, as the pool hands it out: what a setting asks for is not what is."""
    for at, mode, authority, encrypted, verified in (
        (own_postgres.port, "disable", None, False, False),
        (port, "prefer", None, True, False),
        (port, "require", None, True, False),
        (port, "verify-ca", "ca.crt", True, False),
        (port, "verify-full", "ca.crt", True, True),
    ):
        monkeypatch.setenv("PGSSLMODE", mode)
        if authority is not None:
            monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / authority))
        store = PostgresStore(Database(f"postgresql://postgres@{HOST}:{at}/postgres"), 1)
        async with store.session() as connection:
            assert protection_of(connection) == Protection(Way.LOOPBACK, encrypted, verified), mode
        await store.close()


async def test_certificates_are_read_anew_for_each_connection(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority can be exchanged without a restart; open sessions go on."""
    bundle = tmp_path / "bundle.crt"
    good, stranger = (tmp_path / "ca.crt").read_text(), Authority(tmp_path, "stranger").file.read_text()
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(bundle))
    store = PostgresStore(Database(f"postgresql://postgres@{HOST}:{port}/postgres"), 2)
    bundle.write_text(stranger)
    with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await store.ping()
    bundle.write_text(good)
    async with store.session():
        bundle.write_text(stranger)
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await store.ping()
    await store.ping()  # by the session that is open
    await store.close()


async def _migrate(host: str, port: int, authority: Path) -> tuple[int, str]:
    """As the Job does it, with the pod's variables: exit code, and what it says."""
    manifests = rendered("kubernetes/base")
    (container,) = containers(pods(manifests)["passport-worker-migrate"])
    variables = environment(container, manifests)
    del variables["PASSPORT_DATABASE_URL_FILE"]
    variables |= {
        "PASSPORT_DATABASE_URL": f"postgresql://postgres@{host}:{port}/postgres",
        "PGSSLROOTCERT": str(authority),
    }
    done = await asyncio.to_thread(run_command, "migrate", **variables)
    return done.returncode, done.stderr


async def test_a_server_that_the_authority_vouches_for_is_believed(port: int, tmp_path: Path) -> None:
    """By the address in the URL."""
    assert await _migrate(HOST, port, tmp_path / "ca.crt") == (0, "")


async def test_a_server_of_another_authority_is_not_believed(port: int, tmp_path: Path) -> None:
    """Whoever answers in its place learns no password and no command."""
    code, said = await _migrate(HOST, port, Authority(tmp_path, "stranger").file)
    assert code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in said


async def test_a_server_with_a_certificate_for_another_name_is_not_believed(port: int, tmp_path: Path) -> None:
    """The authority may have signed for it, too."""
    code, said = await _migrate("localhost", port, tmp_path / "ca.crt")
    assert code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in said
