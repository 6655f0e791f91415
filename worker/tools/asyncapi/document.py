"""The AsyncAPI 3.0 document: servers, channels, operations and security, from settings, topics and models."""

from typing import get_args

from worker import __version__
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.topic_settings import Wanted, wanted_topics
from worker.tools.asyncapi.messages import Examples, message_schemas, messages
from worker.tools.asyncapi.schemas import JsonSchema

_BINDING = "0.5.0"
_COMMANDS = ("create", "create-structured", "create-binary")
_CREDENTIALS = ("apiKey", "accessToken", "signature")
_NUMBERS = ("retention.ms", "max.message.bytes")
_DELIVERY = (
    "Exactly one result for each command record, whatever crashes, visible to consumers with "
    "`isolation.level=read_committed`."
)


def asyncapi(settings: Settings, examples: Examples) -> JsonSchema:
    """The document as plain values. It describes the worker: it receives commands and sends results."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:eu:tracepass:passport-worker",
        "info": _info(settings),
        "defaultContentType": "application/json",
        "servers": _servers(settings),
        "channels": _channels(settings),
        "operations": _operations(settings),
        "components": {
            "messages": messages(settings, examples),
            "schemas": message_schemas(),
            "securitySchemes": _security_schemes(),
        },
    }


def _info(settings: Settings) -> JsonSchema:
    return {
        "title": "Passport worker",
        "version": __version__,
        "description": _description(settings),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "contact": {"name": "Whoever runs the worker", "url": "https://schemas.tracepass.eu/"},
        "tags": [{"name": "passports", "description": "Digital Product Passports of units, by GTIN and serial number"}],
    }


def _description(settings: Settings) -> str:
    return f"""\
Creates EU Digital Product Passports: commands in, results out.

**Delivery.** Every record on the command topic gets exactly one result event: valid or not, first time or sent again,
and whatever crashes in between. It is exactly one for consumers with `isolation.level=read_committed`; others may also
see results of aborted transactions. No deduplication is needed. If an operator replays results, they come again with
the same `ce_id`, key, headers and bytes.

**Order.** A result stands in the partition of the same number as its command, so results of one command partition keep
its order within each result topic. Across command partitions no order is promised.

**Retries.** The same body with the same `idempotency-key` yields the original created event again, for 24 hours after
the creation. Every other outcome leaves nothing behind. Without a key a retry is a new command.

**Limits of a command.** A value of {settings.limit_value_bytes} bytes, {settings.limit_headers} headers \
of {settings.limit_header_bytes} bytes, JSON {settings.limit_json_depth} levels deep, no duplicate
keys. What is over a limit or cannot be read is rejected with status 400, and copied to the dead letters.

**Compatibility.** Within `v1` a result may gain optional fields and changes in no other way. Ignore what you do not
know: the schemas do not forbid further fields, so that who checks with an older schema takes newer results. A command
schema may only loosen. Anything else is a new major version, on topics of its own.
"""


def _servers(settings: Settings) -> JsonSchema:
    host = settings.kafka_bootstrap_servers.split(",")[0].strip()
    secure = [{"$ref": f"#/components/securitySchemes/{name}"} for name in (*_sasl_schemes(), "certificate")]
    return {
        "development": {
            "host": host,
            "protocol": "kafka",
            "description": "Plaintext, for a broker on the same machine.",
        },
        "production": {
            "host": "{bootstrapServer}",
            "protocol": "kafka-secure",
            "description": "TLS, and either SASL or a client certificate.",
            "variables": {"bootstrapServer": {"default": host, "description": "host:port of a broker"}},
            "security": secure,
        },
    }


def _sasl_schemes() -> dict[str, str]:
    """AsyncAPI's types of the SASL mechanisms that the worker's settings know, with their names in Kafka."""
    types = {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512"}
    return {types[name]: name for name in get_args(Settings.model_fields["kafka_sasl_mechanism"].annotation)}


def _security_schemes() -> JsonSchema:
    sasl: JsonSchema = {
        kind: {"type": kind, "description": f"SASL mechanism {name}, over TLS"}
        for kind, name in _sasl_schemes().items()
    }
    return {
        **sasl,
        "certificate": {"type": "X509", "description": "TLS client certificate"},
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "tp_…",
            "description": "A company's API key, in the Kafka header `authorization` of each command",
        },
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An OAuth 2.0 access token with the scope passports:write, in the same header",
        },
        "signature": {
            "type": "httpApiKey",
            "in": "header",
            "name": "jws-signature",
            "description": "A signature of each command by the company's private key, in a Kafka header of its own: no "
            "secret, and good for that record only",
        },
    }


def _channels(settings: Settings) -> JsonSchema:
    wanted = {one.name: one for one in wanted_topics(settings)}
    copies = settings.topic_replication
    channels = {
        "commands": _channel(
            wanted[settings.topic_commands], copies, _COMMANDS, "Commands. The time of appending is their time."
        )
    }
    for kind, topic in zip(Kind, settings.result_topics, strict=True):
        channels[kind.label] = _channel(wanted[topic], copies, (kind.label,), f"Results. {_DELIVERY}")
    letters = wanted[settings.dead_letter_topic]
    channels["dead-letters"] = _channel(
        letters, copies, ("dead-letter",), "Copies of commands that could not be read or processed, for people."
    )
    return {**channels}


def _channel(topic: Wanted, replicas: int, names: tuple[str, ...], description: str) -> JsonSchema:
    binding = {
        "partitions": topic.partitions,
        "replicas": replicas,
        "topicConfiguration": {name: _configured(name, value) for name, value in topic.settings.items()},
        "bindingVersion": _BINDING,
    }
    return {
        "address": topic.name,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": binding},
    }


def _configured(name: str, value: str) -> object:
    """As the Kafka binding wants it: policies are a list, and numbers are no strings."""
    if name == "cleanup.policy":
        return value.split(",")
    return int(value) if name in _NUMBERS else value


def _operations(settings: Settings) -> JsonSchema:
    group = {"groupId": {"type": "string", "enum": [settings.group_id]}, "bindingVersion": _BINDING}
    receive = {
        **_operation("receive", "commands", _COMMANDS, "Answers each create-passport command once.", _DELIVERY),
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _CREDENTIALS],
        "bindings": {"kafka": group},
    }
    send: JsonSchema = {
        f"send-{kind.label}": _operation(
            "send",
            kind.label,
            (kind.label,),
            f"Answers a command: {kind.label}.",
            f"In one Kafka transaction with the group's offset. {_DELIVERY}",
        )
        for kind in Kind
    }
    copy = _operation(
        "send",
        "dead-letters",
        ("dead-letter",),
        "Keeps a copy of what could not be read or processed.",
        "In the same Kafka transaction as the command's rejected event.",
    )
    return {"receive-command": receive, **send, "send-dead-letter": copy}


def _operation(action: str, channel: str, names: tuple[str, ...], summary: str, description: str) -> JsonSchema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "description": description,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }
