"""All settings of the worker, from the environment (contract section 7); one frozen object, read once."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.messages.envelope import Limits


def _database_url(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected a URL that starts with postgresql://")
    return text


_SERVER = r"(\[[\da-f:.]+]|[\w.%-]+)(:\d+)?"
_PLACE = re.compile(
    rf"[a-z]+://([^@:/?#]*(:[^@/?#]*)?@)?(?P<place>({_SERVER}(,{_SERVER})*)?(/[^@/?#]*)?)(\?[^@]*)?", re.IGNORECASE
)


def database_place(url: str) -> str:
    """Servers and database of a URL, as `host:port/name`; nothing of one in which a password may stand elsewhere."""
    match = _PLACE.fullmatch(url)
    return match["place"] if match else "an address that cannot be shown without its password"


def _link_base(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected an http or https URL without query and fragment")
    return text.rstrip("/")


_TOPIC = r"[a-zA-Z0-9._-]{1,249}"
Topic = Annotated[str, Field(pattern=f"^{_TOPIC}$")]


def _problem(text: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{text}", {"text": text.removeprefix("Value error, ")})


def _between(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings that do not go together, by name; values are those that were given, unchecked."""
    if values.get("oauth_jwks"):
        for name in ("oauth_issuer", "oauth_audience"):
            if not values.get(name):
                yield name, "expected beside PASSPORT_OAUTH_JWKS: without it anybody's tokens would pass"
    if str(values.get("kafka_security_protocol", "")).startswith("SASL"):
        for name in ("kafka_sasl_username", "kafka_sasl_password"):
            if not values.get(name):
                yield name, "expected with a SASL security protocol"
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"):
        if values.get(name) and not Path(str(values[name])).is_file():
            yield name, "expected a file"
    yield from _between_topics(
        {name: values.get(name) or field.default for name, field in Settings.model_fields.items()}
    )


def _between_topics(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    commands, group_id = values["topic_commands"], values["group_id"]
    dead_letters = values["topic_dead_letters"] or f"{commands}.{group_id}.dlq"
    if not re.fullmatch(_TOPIC, dead_letters):
        yield "topic_dead_letters", "expected to be set, since the group id cannot be part of a topic name"
    names = ("topic_commands", "topic_created", "topic_overage_required", "topic_conflict", "topic_rejected")
    topics = [*(values[name] for name in names), dead_letters]
    for name, topic in zip((*names, "topic_dead_letters"), topics, strict=True):
        if topics.count(topic) > 1:
            yield name, "expected a topic of its own"


class Settings(BaseSettings):
    """Named as in the environment, less the prefix `PASSPORT_`, in lower case."""

    model_config = SettingsConfigDict(env_prefix="PASSPORT_", frozen=True, extra="ignore", hide_input_in_errors=True)

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

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems_at_once(cls, values: dict[str, Any], check: ModelWrapValidatorHandler["Settings"]) -> "Settings":
        """What is wrong between settings is told together with what is wrong with each (contract section 7)."""
        problems = [InitErrorDetails(type=_problem(text), loc=(name,), input=None) for name, text in _between(values)]
        try:
            settings = check(values)
        except ValidationError as error:
            problems += [
                InitErrorDetails(type=_problem(one["msg"]), loc=one["loc"], input=None)
                for one in error.errors(include_url=False, include_input=False, include_context=False)
            ]
        if problems:
            raise ValidationError.from_exception_data("Settings", problems, hide_input=True)
        return settings

    @property
    def result_topics(self) -> tuple[str, str, str, str]:
        """Created, overage required, conflict, rejected."""
        return self.topic_created, self.topic_overage_required, self.topic_conflict, self.topic_rejected

    @property
    def limits(self) -> Limits:
        """Bounds of a readable record."""
        return Limits(self.limit_value_bytes, self.limit_headers, self.limit_header_bytes, self.limit_json_depth)

    @property
    def dead_letter_topic(self) -> str:
        """`<commands>.<group>.dlq` unless set."""
        return self.topic_dead_letters or f"{self.topic_commands}.{self.group_id}.dlq"
