"""A real Kafka as platforms run it: TLS, passwords, and nothing allowed that no ACL allows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.infrastructure.certificates import Authority
from tests.infrastructure.choose import own_server
from tests.infrastructure.kafka import LocalKafka
from worker.tools.demo.embedded import HOST, free_port

USER = "passport-worker"


class SecureKafka(LocalKafka):
    """`secure_servers` takes SCRAM over TLS and asks the authorizer; `bootstrap_servers` lets everybody do everything.

    `mutual_servers` is as the former, and asks for a certificate of `authority`. `USER` has a password and no rights.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._secure_port, self._mutual_port = free_port(), free_port()
        self.password = uuid4().hex
        self._keystore = directory / "broker.pem"
        self.use(Authority(directory))

    def use(self, authority: Authority) -> None:
        """From the next start on, have a certificate of this authority, and want such ones."""
        self.authority = authority
        certificate, key = authority.issue("broker")
        self._keystore.write_bytes(key.read_bytes() + certificate.read_bytes())

    @property
    def secure_servers(self) -> str:
        """For a client with a password."""
        return f"{HOST}:{self._secure_port}"

    @property
    def mutual_servers(self) -> str:
        """For a client with a password and a certificate."""
        return f"{HOST}:{self._mutual_port}"

    def worker_environment(self) -> dict[str, str]:
        """The contract's settings that connect `USER`."""
        return {
            "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": self.secure_servers,
            "PASSPORT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "PASSPORT_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "PASSPORT_KAFKA_SASL_USERNAME": USER,
            "PASSPORT_KAFKA_SASL_PASSWORD": self.password,
            "PASSPORT_KAFKA_SSL_CAFILE": str(self.authority.file),
        }

    def _format_options(self) -> tuple[str, ...]:
        return ("--add-scram", f"SCRAM-SHA-512=[name={USER},password={self.password}]")

    def _settings(self) -> dict[str, str]:
        clients = f"INSIDE://{HOST}:{self.port},SECURE://{self.secure_servers},MUTUAL://{self.mutual_servers}"
        return {
            **super()._settings(),
            "listeners": f"{clients},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": clients,
            "inter.broker.listener.name": "INSIDE",
            "listener.security.protocol.map": "INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SASL_SSL",
            **self._secure_listener("secure"),
            **self._secure_listener("mutual"),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(self.authority.file),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",  # whoever comes in by the listeners without a password
        }

    def _secure_listener(self, name: str) -> dict[str, str]:
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        settings = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._keystore),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "scram-sha-512.sasl.jaas.config": login,
        }
        return {f"listener.name.{name}.{key}": value for key, value in settings.items()}


@contextmanager
def secure_kafka() -> Iterator[SecureKafka]:
    """One that runs. Skips the test where it cannot be had."""
    with own_server(SecureKafka, "a real Kafka") as kafka:
        yield kafka
