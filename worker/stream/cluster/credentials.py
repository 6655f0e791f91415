"""The credentials of Kafka clients. Each connection reads files of certificates, passwords and tokens again."""

import os
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from inspect import isawaitable
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from worker.secret_file import UnreadableSecret, read_secret
from worker.settings import Settings
from worker.stream.cluster.token_endpoint import TokenEndpoint

# Options of `security_options` that are functions, which return a value, or an awaitable of it, for each connection.
_PER_CONNECTION = ("ssl_context", "sasl_plain_password", "sasl_oauth_token_provider")


class Refused(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """The cluster rejects the worker's credentials, or the worker its certificate. Somebody must change a setting."""


async def with_present_credentials(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a client for one connection, with the present credentials.

    Raises `Refused` if there are none, and `KafkaConnectionError` if the token endpoint is away.
    """
    made = {}
    try:
        for name in _PER_CONNECTION:
            if callable(make := options.get(name)):
                value = make()
                made[name] = await value if isawaitable(value) else value
    except (UnreadableSecret, SaslAuthenticationFailed) as error:
        raise Refused(error.args[0]) from error
    return {**options, **made}


def security_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of an aiokafka client for encryption and authentication."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = _tokens(settings)
        else:
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = lambda: _password(settings)
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = lambda: _ssl_context(settings)
    return options


def _password(settings: Settings) -> str:
    if settings.kafka_sasl_password_file:
        return read_secret("PASSPORT_KAFKA_SASL_PASSWORD_FILE", settings.kafka_sasl_password_file)
    return settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    files = settings.kafka_ssl_cafile, settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile
    try:
        return _context_of(*files, tuple(_version_of(file) for file in files if file))
    except OSError as error:  # errors of `ssl` are among them
        raise Refused(f"the files of PASSPORT_KAFKA_SSL_* cannot be read: {type(error).__name__}: {error}") from error


def _version_of(file: str) -> tuple[int, int, int]:
    status = os.stat(file)
    return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _context_of(
    cafile: str | None, certfile: str | None, keyfile: str | None, _versions: tuple[tuple[int, int, int], ...]
) -> ssl.SSLContext:
    """Load a context. This takes some 20 ms, so it is used again until `_versions` of the files change."""
    context = ssl.create_default_context(cafile=cafile)
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    return context


class _Token(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, text: str, refuse: Callable[[str], None] = lambda text: None) -> None:
        self._text, self._refuse = text, refuse

    async def token(self) -> str:
        return self._text

    def refuse(self) -> None:
        """Called when the broker refuses the token. See `TokenEndpoint.refuse`; a token from a file ignores it."""
        self._refuse(self._text)


# Cached, so that all clients of a process share the token.
_endpoint = lru_cache(maxsize=4)(TokenEndpoint)


def _tokens(settings: Settings) -> Callable[[], _Token | Awaitable[_Token]]:
    async def token_of_endpoint() -> _Token:
        endpoint = _endpoint(
            settings.kafka_oauth_token_url or "",
            settings.kafka_oauth_client_id or "",
            settings.kafka_oauth_client_secret_file or "",
            settings.kafka_oauth_scope,
        )
        return _Token(await endpoint.token(), endpoint.refuse)

    # Somebody else renews the file in time, as Kubernetes does for the token of a service account.
    if file := settings.kafka_oauth_token_file:
        return lambda: _Token(read_secret("PASSPORT_KAFKA_OAUTH_TOKEN_FILE", file))
    return token_of_endpoint
