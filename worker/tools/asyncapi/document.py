"""The AsyncAPI 3.0 document: `template.yaml`, filled from settings, topics, schemas and examples."""

from collections.abc import Mapping
from functools import reduce
from importlib.resources import files
from json import dumps
from operator import getitem
from typing import Any

import yaml

from worker import __version__
from worker.domain.command import DeadLetter, Source
from worker.messages.events import Answer, Event, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.tools.asyncapi.schemas import JsonSchema, schemas
from worker.tools.common.wanted_topics import Wanted, wanted_topics

Examples = Mapping[str, dict[str, object]]
"""The valid example of each message, by label: `create`, `created`, …"""

_PREFIX = "{prefix}"
"""The parameter of all addresses: the name of a channel and a dot, or nothing."""

_EXAMPLE_COMMAND = Source("dpp.passport.create.v1", 0, 1200, 1778320800000)
_EXAMPLE_KEY = "order-4711-unit-1"
_EXAMPLE_COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
_EXAMPLE_DEAD_LETTER = '{"productId": "6650a1b2'


def asyncapi(settings: Settings, examples: Examples) -> JsonSchema:
    """The document as plain values. The worker is the application: it receives commands and sends results."""
    labels = ["commands", *(kind.label for kind in Kind), "dead-letters"]
    names = [settings.topic_commands, *settings.result_topics, settings.dead_letter_topic]
    wanted = {topic.name: topic for topic in wanted_topics(settings)}
    letter = DeadLetter(
        None, _EXAMPLE_DEAD_LETTER.encode(), (("idempotency-key", _EXAMPLE_KEY.encode()),), reason="not-json"
    )
    values: Any = {
        "version": __version__,
        "group": settings.group_id,
        "host": settings.kafka_bootstrap_servers.split(",")[0].strip(),
        "topics": {
            label: {"address": _PREFIX + name, "bindings": _bindings(wanted[name], settings.topic_replication)}
            for label, name in zip(labels, names, strict=True)
        },
        "schemas": {name.removesuffix(".v1.json"): schema for name, schema in schemas().items()},
        "bodies": {**examples, "dead-letter": _EXAMPLE_DEAD_LETTER},
        "headers": {
            **{kind.label: _headers(_result(kind, examples[kind.label])) for kind in Kind},
            "dead-letter": _headers(dead_letter_event(letter, _EXAMPLE_COMMAND, settings.group_id)),
        },
    }

    # One class per call: PyYAML keeps constructors by class, and these have the values of this call.
    class Filling(yaml.SafeLoader):
        """Knows the tags of the template."""

    def value_of(_: Filling, node: yaml.ScalarNode) -> Any:
        return reduce(getitem, node.value.split("."), values)

    Filling.add_constructor("!value", value_of)
    Filling.add_constructor("!format", lambda _, node: node.value.format(settings=settings))
    template = (files("worker.tools.asyncapi") / "template.yaml").read_text(encoding="utf-8")
    document: JsonSchema = yaml.load(template, Filling)
    return document


def _bindings(topic: Wanted, replicas: int) -> JsonSchema:
    """The Kafka binding of a channel. It wants cleanup policies as a list, and numbers as numbers."""
    configured: dict[str, object] = dict(topic.settings)
    for name in {"retention.ms", "max.message.bytes"} & topic.settings.keys():
        configured[name] = int(topic.settings[name])
    if "cleanup.policy" in configured:
        configured["cleanup.policy"] = topic.settings["cleanup.policy"].split(",")
    return {
        "kafka": {
            "partitions": topic.partitions,
            "replicas": replicas,
            "topicConfiguration": configured,
            "bindingVersion": "0.5.0",
        }
    }


def _result(kind: Kind, body: dict[str, object]) -> Event:
    """The event that the worker publishes with this body for the example's command."""
    answer = Answer(
        _EXAMPLE_COMMAND.offset,
        _EXAMPLE_COMMAND.appended_ms,
        kind,
        _EXAMPLE_KEY,
        dumps(body).encode(),
        _EXAMPLE_COMPANY,
        passport_id=str(body["_id"]) if kind is Kind.CREATED else None,
    )
    return event_of(answer, _EXAMPLE_COMMAND.topic, _EXAMPLE_COMMAND.partition)


def _headers(event: Event) -> dict[str, str]:
    return {name: value.decode() for name, value in event.headers if value is not None}
