"""An OpenID Connect issuer on loopback, whose sign-in page asks nothing: it signs in whoever the test says."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import uuid4

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.oauth_builders import jwk
from worker.tools.demo.embedded import HOST, free_port


@dataclass
class Issuer:
    """`person` has the claims of whoever signs in next, beside those of every ID token for `client`."""

    url: str
    client: str
    person: dict[str, object] = field(default_factory=dict)
    lifetime: float = 300.0
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _nonces: dict[str, str | None] = field(default_factory=dict)

    def id_token(self, nonce: str | None = None, **changes: object) -> str:
        """A signed ID token. Its type is not that of an access token."""
        now = time.time()
        claims = {"iss": self.url, "aud": self.client, "iat": now, "exp": now + self.lifetime, **self.person, **changes}
        return jwt.encode({**claims, **({"nonce": nonce} if nonce else {})}, self.key, "ES256", {"kid": "staff-1"})

    async def describe(self, request: web.Request) -> web.Response:
        """Where everything is (OpenID Connect Discovery)."""
        paths = {"authorization_endpoint": "sign-in", "token_endpoint": "token", "jwks_uri": "keys"}
        return web.json_response(
            {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in paths.items()}}
            | {"id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"]}
        )

    async def sign_in(self, request: web.Request) -> web.Response:
        """Back to the proxy at once, with a code."""
        code = uuid4().hex
        self._nonces[code] = request.query.get("nonce")
        query = urlencode({"code": code, "state": request.query["state"]})
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{query}")

    async def token(self, request: web.Request) -> web.Response:
        """Tokens for a code."""
        nonce = self._nonces.pop(str((await request.post())["code"]))
        return web.json_response(
            {"access_token": uuid4().hex, "token_type": "Bearer", "expires_in": 300, "id_token": self.id_token(nonce)}
        )

    async def keys(self, request: web.Request) -> web.Response:
        """The key set."""
        return web.json_response({"keys": [jwk(self.key, "staff-1")]})


@asynccontextmanager
async def issuing(client: str) -> AsyncIterator[Issuer]:
    """It serves meanwhile."""
    port = free_port()
    issuer = Issuer(f"http://{HOST}:{port}", client)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.describe)
    app.router.add_get("/sign-in", issuer.sign_in)
    app.router.add_post("/token", issuer.token)
    app.router.add_get("/keys", issuer.keys)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield issuer
    finally:
        await runner.cleanup()
