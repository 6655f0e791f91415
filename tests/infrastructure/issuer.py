"""An authorization server of a test's own: keys, and tokens for clients (RFC 6749, section 4.4)."""

import base64
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Self
from urllib.parse import parse_qs, unquote

import jwt

from tests.unit.oauth_builders import jwk, key_set, rsa_key
from worker.tools.demo.embedded import HOST

AUDIENCE = "kafka"


class Issuer:
    """Serves in a thread. While it `is_away` it answers 503; `secret` is that of its only client."""

    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id, self.secret = client_id, secret
        self.is_away, self.token_seconds = False, 600
        self.issued: list[str] = []
        self.asked: list[dict[str, str]] = []
        self._key = rsa_key()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self.url = f"http://{HOST}:{self._server.server_port}"

    def keys(self) -> bytes:
        """Its key set."""
        return key_set(jwk(self._key, "k1", alg="RS256", use="sig"))

    def token(self, seconds: int | None = None, **claims: object) -> str:
        """A token of the client."""
        now = int(time.time())
        expires = now + (self.token_seconds if seconds is None else seconds)
        body = {"iss": self.url, "sub": self.client_id, "aud": AUDIENCE, "iat": now, "exp": expires, **claims}
        return jwt.encode(body, self._key, "RS256", {"kid": "k1"})

    def answer(self, authorization: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        """Status and body of the token endpoint's answer."""
        self.asked.append(form)
        user, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (unquote(user), unquote(secret)) != (self.client_id, self.secret):
            return 401, {"error": "invalid_client"}
        self.issued.append(self.token())
        return 200, {"access_token": self.issued[-1], "token_type": "Bearer", "expires_in": self.token_seconds}

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The key set."""
            self._answer(503 if issuer.is_away else 200, issuer.keys())

        def do_POST(self) -> None:
            """A token."""
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            flat = {name: values[0] for name, values in form.items()}
            status, body = (503, {}) if issuer.is_away else issuer.answer(self.headers["authorization"] or "", flat)
            self._answer(status, json.dumps(body).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
