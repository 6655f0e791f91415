"""The settings of the worker: one frozen object, read once from the environment."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.domain.gs1 import UNSAFE_TEXT
from worker.messages.envelope import Limits
from worker.secret_file import UnreadableSecret, read_secret
from worker.store.address import has_password, problem_of
from worker.store.database import Database

_ADDRESS = re.compile(r"(\[[\da-f:.]+]|[\w.-]+)(:\d{1,5})?|[\da-f]*:[\da-f]*:[\da-f:.]*", re.IGNORECASE)


def _servers(text: str) -> str:
    servers = [_ADDRESS.fullmatch(server.strip()) for server in text.split(",")]
    if not all(servers):
        raise ValueError("expected host:port, or several, separated by commas")
    if not all(0 < int(server[2][1:]) < 65536 for server in servers if server and server[2]):
        raise ValueError("expected host:port with a port from 1 to 65535")
    return text


def _database_url(text: str) -> str:
    if problem := problem_of(text):
        raise ValueError(problem)
    return text


def _link_base(text: str) -> str:
    parts = urlsplit(text)
    # Not the parts: `urlsplit` drops line breaks and empty queries and fragments, and links would keep them for good.
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[?#\s\x00-\x1f\x7f]", text):
        raise ValueError("expected an http or https URL without query, fragment and white space")
    return text.rstrip("/")


def _token_url(text: str) -> str:
    parts = urlsplit(text)
    is_loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback)  # the client's secret goes there
    if not is_safe or not parts.hostname or parts.username is not None:
        raise ValueError("expected an https URL without a user (http only to this machine's loopback)")
    return text


def _person(text: str) -> str:
    if UNSAFE_TEXT.search(text.strip()):
        raise ValueError("expected a name, without control characters")
    return text.strip()


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Z]{3}", text):
        raise ValueError("expected three upper-case letters of ISO 4217, such as EUR")
    return text


CHANNEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def _channels(text: str) -> str:
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    for name in names:
        if not CHANNEL.fullmatch(name):
            raise ValueError(f"expected names of 1 to 40 letters a-z, digits and inner hyphens, got {name!r}")
    if len({*names}) < len(names):
        raise ValueError("expected each channel once")
    return ",".join(names)


_TOPIC = r"[a-zA-Z0-9._-]{1,249}"
_TOPICS = ("topic_commands", "topic_created", "topic_overage_required", "topic_conflict", "topic_rejected")
Topic = Annotated[str, Field(pattern=f"^{_TOPIC}$")]


def _problem(text: str, loc: tuple[int | str, ...]) -> InitErrorDetails:
    error = PydanticCustomError("setting", "{text}", {"text": text.removeprefix("Value error, ")})
    return InitErrorDetails(type=error, loc=loc, input=None)


def _problems_between(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Problems between settings, each with the name of a setting. The values are not validated yet."""
    for prefix in ("oauth", "console"):
        for name in (f"{prefix}_issuer", f"{prefix}_audience"):
            if values.get(f"{prefix}_jwks") and not values.get(name):
                yield name, f"expected with PASSPORT_{prefix.upper()}_JWKS: without it anybody's tokens would pass"
    if str(values.get("kafka_security_protocol", "")).startswith("SASL"):
        yield from _credential_problems(values)
    yield from _file_problems(values)
    yield from _topic_problems(
        {name: values.get(name) or field.default for name, field in Settings.model_fields.items()}
    )


def _credential_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings that the SASL mechanism needs and that are missing."""
    if values.get("kafka_sasl_mechanism") != "OAUTHBEARER":
        if not values.get("kafka_sasl_username"):
            yield "kafka_sasl_username", "expected with a SASL security protocol"
        if not values.get("kafka_sasl_password") and not values.get("kafka_sasl_password_file"):
            yield "kafka_sasl_password", "expected with a SASL security protocol"
    elif bool(values.get("kafka_oauth_token_file")) is bool(values.get("kafka_oauth_token_url")):
        yield "kafka_oauth_token_file", "expected with OAUTHBEARER: either this or PASSPORT_KAFKA_OAUTH_TOKEN_URL"
    elif values.get("kafka_oauth_token_url"):
        for name in ("kafka_oauth_client_id", "kafka_oauth_client_secret_file"):
            if not values.get(name):
                yield name, "expected with PASSPORT_KAFKA_OAUTH_TOKEN_URL"


_PROXY_SECRET = 16
_SSL_FILES = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
_SECRET_FILES = (
    *("kafka_sasl_password_file", "kafka_oauth_token_file", "kafka_oauth_client_secret_file"),
    *("database_url_file", "database_password_file", "console_proxy_secret_file"),
)


def _file_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Files that are missing or hold no secret, and secrets that are set twice."""
    for name in _SSL_FILES:
        if values.get(name) and not Path(str(values[name])).is_file():
            yield name, "expected a file"
    secrets = {}
    for name in filter(values.get, _SECRET_FILES):
        if values.get(value_name := name.removesuffix("_file")):
            yield name, f"expected without {PREFIX}{value_name.upper()}: only one of them can count"
        try:
            secrets[name] = read_secret(f"{PREFIX}{name.upper()}", str(values[name]))
        except UnreadableSecret as error:
            yield name, error.problem
    if any(0 < len(line) < _PROXY_SECRET for line in secrets.get("console_proxy_secret_file", "").splitlines()):
        yield "console_proxy_secret_file", f"the file: expected {_PROXY_SECRET} characters or more a line"
    url = secrets.get("database_url_file")
    if url is not None and (problem := problem_of(url)):
        yield "database_url_file", f"the file: {problem}"
    elif values.get("database_password_file") and has_password(url or str(values.get("database_url", ""))):
        yield "database_password_file", "expected with a URL that holds no password: only one of them can count"


def _topic_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    commands, group_id = values["topic_commands"], values["group_id"]
    dead_letters = values["topic_dead_letters"] or f"{commands}.{group_id}.dlq"
    if not re.fullmatch(_TOPIC, dead_letters):
        yield "topic_dead_letters", "expected to be set, since the group id cannot be part of a topic name"
    topics = [*(values[name] for name in _TOPICS), dead_letters]
    channels = [name.strip() for name in str(values["channels"]).split(",") if name.strip()]
    is_default_served = str(values["default_channel"]).lower() not in _FALSE
    # Topics of two channels differ in their prefix. A topic of the default channel may look like one of a channel.
    of_channels = [f"{channel}.{topic}" for channel in channels for topic in topics] if is_default_served else []
    for name, topic in zip((*_TOPICS, "topic_dead_letters"), topics, strict=True):
        if [*topics, *of_channels].count(topic) > 1:
            yield name, "expected a topic of its own"
    longest = max(map(len, topics)) + max((len(f"{channel}.") for channel in channels), default=0)
    if longest > MAX_TOPIC:
        yield "channels", f"expected names of topics of {MAX_TOPIC} characters at most, and the longest has {longest}"
    if not is_default_served and not values["channels"]:
        yield "default_channel", "expected true, or a name in PASSPORT_CHANNELS: there is no topic to read"


# The longest name of a topic in Kafka, and the words that pydantic takes for false.
MAX_TOPIC = 249
_FALSE = ("0", "f", "false", "n", "no", "off")

PREFIX = "PASSPORT_"


class Settings(BaseSettings):
    """A field has the name of its environment variable, in lower case and without the prefix `PASSPORT_`."""

    # Errors hide their input, since a wrong value may hold a password.
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka_bootstrap_servers: Annotated[str, AfterValidator(_servers)] = Field(
        "localhost:9092", description="Kafka servers to connect to first: host:port, separated by commas."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
    )
    kafka_sasl_username: str | None = Field(None, description="User of the SASL protocols.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password of the SASL protocols.")
    kafka_sasl_password_file: str | None = Field(
        None, description="File with that password, in its place; read again for each connection."
    )
    kafka_oauth_token_file: str | None = Field(
        None,
        description="For OAUTHBEARER: file with an access token, which somebody else renews; read again for each "
        "connection.",
    )
    kafka_oauth_token_url: Annotated[str, AfterValidator(_token_url)] | None = Field(
        None, description="For OAUTHBEARER, in place of a file: token endpoint, asked with client credentials."
    )
    kafka_oauth_client_id: str | None = Field(None, description="Id of the client at the token endpoint.")
    kafka_oauth_client_secret_file: str | None = Field(
        None, description="File with the client's secret; read again for each token."
    )
    kafka_oauth_scope: str | None = Field(None, description="Scope to ask the token endpoint for, if it wants one.")
    kafka_ssl_cafile: str | None = Field(
        None, description="PEM file of the authorities that vouch for the brokers; without it, those of the system."
    )
    kafka_ssl_certfile: str | None = Field(None, description="PEM file of the worker's certificate, if brokers ask.")
    kafka_ssl_keyfile: str | None = Field(None, description="PEM file of its key, without a passphrase.")
    kafka_session_timeout_seconds: float = Field(
        10.0, ge=1, le=300, description="Another worker takes over after this long without a heartbeat."
    )
    kafka_transaction_timeout_seconds: float = Field(
        40.0, ge=5, le=900, description="The broker aborts a transaction that stays open for this long."
    )

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        "postgresql://localhost/passports", description="PostgreSQL (15 or later), as a URL; shown without credentials."
    )
    database_url_file: str | None = Field(
        None, description="File with that URL, in its place; read again for each connection."
    )
    database_password_file: str | None = Field(
        None,
        description="File with the password, for a URL without one; read again for each connection, so that it may "
        "hold a token that soon expires.",
    )
    database_pool_size: int = Field(8, ge=1, le=100, description="Maximum of connections to PostgreSQL.")

    group_id: str = Field(
        "passport-worker",
        min_length=1,
        max_length=200,
        description="Consumer group of the workers. Keep it: a new group would answer all commands again.",
    )
    topic_commands: Topic = Field("dpp.passport.create.v1", description="Topic of the commands.")
    topic_created: Topic = Field("dpp.passport.created.v1", description="Topic of results: created, replayed.")
    topic_overage_required: Topic = Field(
        "dpp.passport.overage-required.v1", description="Topic of results: the customer has to confirm overage."
    )
    topic_conflict: Topic = Field("dpp.passport.conflict.v1", description="Topic of results: GTIN or serial is taken.")
    topic_rejected: Topic = Field("dpp.passport.rejected.v1", description="Topic of results: every other refusal.")
    topic_dead_letters: Topic | Literal[""] = Field(
        "", description="Topic of copies of unreadable records. Default: <commands>.<group>.dlq."
    )
    channels: Annotated[str, AfterValidator(_channels)] = Field(
        "",
        description="Further channels, separated by commas. The topics of a channel have its name and a dot in front.",
    )
    default_channel: bool = Field(True, description="Whether workers serve the topics without a prefix, too.")
    topic_partitions: int = Field(6, ge=1, le=10_000, description="Partitions of each topic, for `topics create`.")
    topic_replication: int = Field(1, ge=1, le=32, description="Replicas of each partition, for `topics create`.")
    allow_producer_time: bool = Field(
        False, description="Trust producers' clocks, on a command topic without LogAppendTime."
    )

    digital_link_base: Annotated[str, AfterValidator(_link_base)] = Field(
        "https://id.tracepass.eu/p", description="Base of GS1 Digital Links."
    )
    currency: Annotated[str, AfterValidator(_currency)] = Field(
        "EUR", description="Currency of prices and charges (ISO 4217), for people; cents are its smallest unit."
    )
    operator: Annotated[str, AfterValidator(_person)] = Field(
        "", description="Who acts; stored with each change that an operator makes. Default: the user and the host."
    )
    http_host: str = Field("127.0.0.1", description="Address that serves health and metrics.")
    http_port: int = Field(8080, ge=0, le=65535, description="Port of health and metrics; 0 is off.")

    oauth_jwks: str | None = Field(
        None, description="Keys of OAuth 2.0 access tokens (JWKS): URL or file. OAuth is off without it."
    )
    oauth_issuer: str | None = Field(None, description="Required issuer of access tokens (`iss`).")
    oauth_audience: str | None = Field(None, description="Required audience of access tokens (`aud`).")
    oauth_company_claim: str = Field(
        "company_id", min_length=1, description="The claim of an access token that holds the company's id."
    )
    oauth_allow_any_typ: bool = Field(
        False,
        description="Accept access tokens whose `typ` is not `at+jwt`, for an issuer that does not follow RFC 9068. "
        "Other tokens of that issuer for the same audience, such as ID tokens, then pass, too.",
    )

    console_token_header: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,100}$")] | None = Field(
        None,
        description="The header in which a proxy sends the console a signed token of the reader. Without it: "
        "`Authorization` where other machines can reach the console, and no token on loopback.",
    )
    console_jwks: str | None = Field(
        None, description="Keys of the console's tokens (JWKS): URL or file. Default: PASSPORT_OAUTH_JWKS."
    )
    console_issuer: str | None = Field(
        None, description="Required issuer of the console's tokens. Default: PASSPORT_OAUTH_ISSUER."
    )
    console_audience: str | None = Field(
        None, description="Required audience of the console's tokens. Default: PASSPORT_OAUTH_AUDIENCE."
    )
    console_allow_any_typ: bool | None = Field(
        None,
        description="Accept tokens whose `typ` is not `at+jwt`, such as the ID tokens that oauth2-proxy sends. "
        "Default: PASSPORT_OAUTH_ALLOW_ANY_TYP.",
    )
    console_roles_claim: str = Field(
        "roles", min_length=1, description="The claim that lists a reader's roles: a list, or words in a string."
    )
    console_viewer_role: str = Field("viewer", min_length=1, description="The role that sees lanes and counts.")
    console_support_role: str = Field(
        "support", min_length=1, description="The role that also sees companies, commands and dead letters."
    )
    console_proxy_secret_file: str | None = Field(
        None,
        description="File with a secret of 16 characters or more. The console believes `--user-header` of another "
        "machine only beside it in the header `X-Proxy-Secret`. Read for each request; while it changes, two lines.",
    )

    signature_audience: str | None = Field(
        None,
        description="Required audience of signed commands (`aud`). Default: the command topic. "
        "Set it where several installations have topics of the same name, and before companies sign: a move to another "
        "topic or cluster would refuse signatures for the old topic.",
    )

    batch_records: int = Field(2000, ge=1, le=100_000, description="Maximum of records a transaction, of all lanes.")
    retention_days: int = Field(
        8,
        ge=2,
        le=3650,
        description="Days for which results, idempotency keys, daily counts and dead letters stay in Postgres. "
        "Must be longer than the command topic's retention.",
    )
    # Upper bounds: the copy of an unreadable command has to fit into the dead-letter topic, many commands into memory.
    limit_value_bytes: int = Field(64 * 1024, ge=1, le=98_304, description="Maximum of bytes of a command's value.")
    limit_headers: int = Field(64, ge=1, le=1_000, description="Maximum of headers of a command.")
    limit_header_bytes: int = Field(8 * 1024, ge=1, le=1_048_576, description="Maximum of bytes of a header's value.")
    limit_json_depth: int = Field(32, ge=2, le=200, description="Maximum depth of a command's JSON.")

    _channel: str = PrivateAttr(default="")

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems_at_once(cls, values: dict[str, Any], check: ModelWrapValidatorHandler["Settings"]) -> "Settings":
        """Report problems between settings together with those of single settings."""
        problems = [_problem(text, (name,)) for name, text in _problems_between(values)]
        try:
            settings = check(values)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False, include_context=False)
            problems += [_problem(details["msg"], details["loc"]) for details in errors]
        if problems:
            raise ValidationError.from_exception_data("Settings", problems, hide_input=True)
        return settings

    @property
    def database(self) -> Database:
        """How to connect to PostgreSQL."""
        return Database(self.database_url, self.database_url_file, self.database_password_file)

    @property
    def names_database(self) -> bool:
        """Whether the database is set, rather than left at the default."""
        return not self.model_fields_set.isdisjoint(("database_url", "database_url_file"))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels that workers serve; the default channel has an empty name."""
        return (*([""] if self.default_channel else []), *filter(None, self.channels.split(",")))

    @property
    def channel(self) -> str:
        """The name of the channel, for settings that `of_channel` made; empty for all others."""
        return self._channel

    def of_channel(self, name: str) -> "Settings":
        """The settings of a worker that serves this channel alone."""
        prefix = f"{name}." if name else ""
        topics = {topic: f"{prefix}{getattr(self, topic)}" for topic in _TOPICS}
        topics["topic_dead_letters"] = f"{prefix}{self.dead_letter_topic}"
        settings = self.model_copy(update={**topics, "channels": "", "default_channel": True})
        settings._channel = name or self._channel
        return settings

    def serving(self, names: Collection[str]) -> "Settings":
        """The settings of a worker that serves these channels. Unlike `of_channel`, names of topics have no prefix."""
        channels = ",".join(filter(None, names))
        return self.model_copy(update={"channels": channels, "default_channel": "" in names})

    @property
    def channel_of_topic(self) -> Mapping[str, str]:
        """The channel of each command topic."""
        return {topic: settings.channel for topic, settings in self.by_commands.items()}

    @property
    def by_commands(self) -> Mapping[str, "Settings"]:
        """The settings of each channel, by its command topic."""
        channels = map(self.of_channel, self.channel_names)
        return {channel.topic_commands: channel for channel in channels}

    @property
    def result_topics(self) -> tuple[str, str, str, str]:
        """Created, overage required, conflict, rejected."""
        return self.topic_created, self.topic_overage_required, self.topic_conflict, self.topic_rejected

    @property
    def answer_topics(self) -> tuple[str, ...]:
        """The topics of results, and the topic of dead letters."""
        return *self.result_topics, self.dead_letter_topic

    @property
    def all_topics(self) -> tuple[str, ...]:
        """The topic of commands, then the topics of their answers."""
        return self.topic_commands, *self.answer_topics

    @property
    def topics_of_channels(self) -> tuple[str, ...]:
        """`all_topics` of each channel."""
        return tuple(topic for channel in self.by_commands.values() for topic in channel.all_topics)

    @property
    def audience(self) -> str:
        """The required audience of signatures: the command topic unless set."""
        return self.signature_audience or self.topic_commands

    @property
    def limits(self) -> Limits:
        """The bounds of a readable record."""
        return Limits(self.limit_value_bytes, self.limit_headers, self.limit_header_bytes, self.limit_json_depth)

    @property
    def dead_letter_topic(self) -> str:
        """`<commands>.<group>.dlq` unless set."""
        return self.topic_dead_letters or f"{self.topic_commands}.{self.group_id}.dlq"


# The name of each field, by its environment variable.
VARIABLES = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
