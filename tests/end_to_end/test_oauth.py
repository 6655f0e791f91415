"""OAuth access tokens through a real worker, while the key server is down and after it came back."""

import time
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from tests.invariants import check_invariants
from tests.unit.oauth_builders import AUDIENCE, ISSUER, jwk, key_set, token
from tests.workbench import Tenant, Workbench, get, tenant, until
from worker.tools.demo.embedded import HOST, free_port


def _token(key: ec.EllipticCurvePrivateKey, one: Tenant, scope: str, seconds: int = 600, key_id: str = "k1") -> str:
    return token(key, "ES256", key_id, company_id=one.company_id, scope=scope, exp=int(time.time()) + seconds)


def _bearing(bench: Workbench, one: Tenant, serial: str, access_token: str) -> dict[str, object]:
    command = bench.command(one, 1, serial, partition=0)
    return {**command, "headers": [("authorization", f"Bearer {access_token}".encode())]}


async def test_a_key_server_that_is_down_delays_and_refuses_nothing(bench: Workbench, tmp_path: Path) -> None:
    """The lane waits and says why; when the keys are there, good tokens pass and others get their verdicts.

    The next worker starts while the server is away again: it knows the keys, and refuses a token of another one.
    """
    key, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    keys_port, http_port = free_port(), free_port()
    environment = {
        "PASSPORT_HTTP_PORT": str(http_port),
        "PASSPORT_OAUTH_JWKS": f"http://{HOST}:{keys_port}/jwks.json",
        "PASSPORT_OAUTH_ISSUER": ISSUER,
        "PASSPORT_OAUTH_AUDIENCE": AUDIENCE,
    }
    worker = bench.start_worker(tmp_path / "worker.log", **environment)
    one = tenant(1)
    bench.publish(
        [
            _bearing(bench, one, "a", _token(key, one, "passports:read passports:write")),
            _bearing(bench, one, "b", _token(key, one, "passports:read")),
            _bearing(bench, one, "c", _token(key, one, "passports:write", seconds=-600)),
            _bearing(bench, one, "d", _token(stranger, one, "passports:write")),
            bench.command(one, 1, "e", partition=0),
        ]
    )
    await until(lambda: "waiting for OAuth keys" in get(f"http://{HOST}:{http_port}/readyz")[1], 30, "it says why")
    assert bench.results() == []
    server = await _serve(key, keys_port)
    try:
        results = await bench.wait_for_results(5)
    finally:
        await server.cleanup()
    by_offset = sorted(results, key=lambda result: int(result.cause.rpartition("/")[2]))
    assert [result.body["status"] for result in by_offset] == ["draft", 403, 401, 401, "draft"]
    assert by_offset[1].header("ce_companyid") == one.company_id
    await until(lambda: get(f"http://{HOST}:{http_port}/readyz") == (200, "ok\n"), 10, "it is ready again")
    assert bench.stop_worker(worker) == 0
    bench.start_worker(tmp_path / "next.log", **environment)
    later = [
        _bearing(bench, one, "f", _token(key, one, "passports:write")),
        _bearing(bench, one, "g", _token(stranger, one, "passports:write", key_id="invented")),
        bench.command(one, 1, "h", partition=0),
    ]
    bench.publish(later)
    results = await bench.wait_for_results(8)
    by_offset = sorted(results, key=lambda result: int(result.cause.rpartition("/")[2]))
    assert [result.body["status"] for result in by_offset[5:]] == ["draft", 401, "draft"]
    assert by_offset[6].body["details"] == {"reason": "keys-unavailable"}
    server = await _serve(key, keys_port)
    try:
        metrics = f"http://{HOST}:{http_port}/metrics"
        await until(lambda: "passport_jwks_up 1.0" in get(metrics)[1], 15, "it asks again although no token comes")
    finally:
        await server.cleanup()
    await check_invariants(bench)


async def _serve(key: ec.EllipticCurvePrivateKey, port: int) -> web.AppRunner:
    async def jwks(_request: web.Request) -> web.Response:
        return web.Response(body=key_set(jwk(key, "k1")))

    app = web.Application()
    app.router.add_get("/jwks.json", jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    return runner
