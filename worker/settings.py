"""All settings of the worker, from the environment (contract section 7); one frozen object, read once."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _database_url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected a URL that starts with postgresql://")
    return text


def _link_base(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected an http or https URL without query and fragment")
    return text.rstrip("/")


Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]


class Settings(BaseSettings):
    """Named as in the environment, less the prefix `PASSPORT_`, in lower case."""

    model_config = SettingsConfigDict(env_prefix="PASSPORT_", frozen=True, extra="ignore", secrets_dir=None)

    kafka_bootstrap_servers: Annotated[str, Field(min_length=1)] = "localhost:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: str | None = None
    kafka_ssl_certfile: str | None = None
    kafka_ssl_keyfile: str | None = None
    kafka_session_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = 10.0
    kafka_transaction_timeout_seconds: Annotated[float, Field(ge=5, le=900)] = 40.0

    database_url: Annotated[str, AfterValidator(_database_url)] = "postgresql://localhost/passports"
    database_pool_size: Annotated[int, Field(ge=1, le=100)] = 8

    group_id: Annotated[str, Field(min_length=1, max_length=200)] = "passport-worker"
    topic_commands: Topic = "dpp.passport.create.v1"
    topic_created: Topic = "dpp.passport.created.v1"
    topic_overage_required: Topic = "dpp.passport.overage-required.v1"
    topic_conflict: Topic = "dpp.passport.conflict.v1"
    topic_rejected: Topic = "dpp.passport.rejected.v1"
    topic_dead_letters: Topic | Literal[""] = ""
    topic_partitions: Annotated[int, Field(ge=1, le=10_000)] = 6
    topic_replication: Annotated[int, Field(ge=1, le=32)] = 1
    allow_producer_time: bool = False

    digital_link_base: Annotated[str, AfterValidator(_link_base)] = "https://id.tracepass.eu/p"
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080

    oauth_jwks: str | None = None
    oauth_issuer: str | None = None
    oauth_audience: str | None = None
    oauth_company_claim: Annotated[str, Field(min_length=1)] = "company_id"

    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 2000
    retention_days: Annotated[int, Field(ge=2, le=3650)] = 8
    # An answer that names every field error is up to 20 times as long, and must fit into a result topic.
    limit_value_bytes: Annotated[int, Field(ge=1, le=98_304)] = 64 * 1024
    limit_headers: Annotated[int, Field(ge=1, le=1_000)] = 64
    limit_header_bytes: Annotated[int, Field(ge=1, le=1_048_576)] = 8 * 1024
    limit_json_depth: Annotated[int, Field(ge=2, le=200)] = 32

    @model_validator(mode="after")
    def _oauth_is_whole(self) -> "Settings":
        if self.oauth_jwks and not (self.oauth_issuer and self.oauth_audience):
            raise ValueError("PASSPORT_OAUTH_JWKS needs PASSPORT_OAUTH_ISSUER and PASSPORT_OAUTH_AUDIENCE beside it")
        return self

    @model_validator(mode="after")
    def _topics_differ(self) -> "Settings":
        topics = [self.topic_commands, *self.result_topics, self.dead_letter_topic]
        if len(set(topics)) != len(topics):
            raise ValueError("PASSPORT_TOPIC_COMMANDS and the result and dead-letter topics must all differ")
        return self

    @property
    def result_topics(self) -> tuple[str, str, str, str]:
        """Created, overage required, conflict, rejected."""
        return self.topic_created, self.topic_overage_required, self.topic_conflict, self.topic_rejected

    @property
    def dead_letter_topic(self) -> str:
        """`<commands>.<group>.dlq` unless set."""
        return self.topic_dead_letters or f"{self.topic_commands}.{self.group_id}.dlq"
