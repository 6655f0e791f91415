"""A real Kafka that takes access tokens and passwords, and ends connections whose credentials are too old."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.infrastructure.choose import own_server
from tests.infrastructure.issuer import AUDIENCE, Issuer
from tests.infrastructure.secure_kafka import USER, SecureKafka
from worker.tools.demo.embedded import HOST, free_port

_OAUTH = "org.apache.kafka.common.security.oauthbearer"
REAUTHENTICATE_SECONDS = 6
"""How long a connection of `secure_servers` or `token_servers` serves at most. A token that ends sooner ends it."""


class TokenKafka(SecureKafka):
    """As `SecureKafka`, with `token_servers` for tokens of the issuer over TLS. `USER` may do everything."""

    def __init__(self, directory: Path, issuer: Issuer) -> None:
        super().__init__(directory)
        self._token_port = free_port()
        self._issuer = issuer
        self.jvm_options = (*self.jvm_options, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.url}/jwks")

    @property
    def token_servers(self) -> str:
        """For a client with a token."""
        return f"{HOST}:{self._token_port}"

    def set_password(self, password: str) -> None:
        """Give `USER` another one: the next connections need it."""
        self.password = password
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(USER, info, password.encode())
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        for done in admin.alter_user_scram_credentials([change]).values():
            done.result(20)

    def _settings(self) -> dict[str, str]:
        settings = super()._settings()
        listener = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._keystore),
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
            "oauthbearer.sasl.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
            "oauthbearer.connections.max.reauth.ms": str(REAUTHENTICATE_SECONDS * 1000),
        }
        for key in ("listeners", "advertised.listeners"):
            settings[key] += f",TOKENS://{self.token_servers}"
        settings["listener.security.protocol.map"] += ",TOKENS:SASL_SSL"
        return {
            **settings,
            **{f"listener.name.tokens.{key}": value for key, value in listener.items()},
            "listener.name.secure.scram-sha-512.connections.max.reauth.ms": str(REAUTHENTICATE_SECONDS * 1000),
            "sasl.oauthbearer.jwks.endpoint.url": f"{self._issuer.url}/jwks",
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": self._issuer.url,
            "super.users": f"User:ANONYMOUS;User:{USER}",
        }


@contextmanager
def token_kafka(issuer: Issuer) -> Iterator[TokenKafka]:
    """One that runs. Skips the test where it cannot be had."""
    with own_server(lambda directory: TokenKafka(directory, issuer), "a real Kafka") as kafka:
        yield kafka
