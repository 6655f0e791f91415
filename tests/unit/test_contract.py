"""The committed files of `schemas/` are what the code says, and the AsyncAPI document says it well."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.schema_checks import SCHEMAS
from tests.unit.builders import LINK_BASE, TOPIC, opened
from tests.unit.test_schemas import OUTCOMES
from worker.domain.command import TraceContext
from worker.domain.outcomes import Outcome
from worker.messages.events import dead_letter_event, describe, event_of
from worker.settings import Settings
from worker.stream.cluster.topic_settings import wanted_topics
from worker.tools.asyncapi.document import asyncapi
from worker.tools.asyncapi.files import ASYNCAPI, contract_files

DEFAULTS = Settings.model_construct()
TRACE = TraceContext(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"vendor=1")
DOCUMENT: dict[str, Any] = yaml.safe_load((SCHEMAS / ASYNCAPI).read_text(encoding="utf-8"))
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


@cache
def _registry() -> Registry[Any]:
    """What a relative `$ref` of the document means: a file beside it."""
    files = [path for path in SCHEMAS.iterdir() if path.suffix in (".json", ".yaml")]
    return Registry().with_resources(
        (path.name, DRAFT202012.create_resource(yaml.safe_load(path.read_text(encoding="utf-8")))) for path in files
    )


def _examples() -> Iterator[Any]:
    for name, message in MESSAGES.items():
        for example in message["examples"]:
            for part in ("headers", "payload"):
                yield pytest.param(name, part, example[part], id=f"{name}-{part}")


def _generated(folder: Path) -> list[Path]:
    paths = [*folder.iterdir(), *(folder / "operations").glob("*")]
    return [path for path in paths if path.is_file() and path.name != "README.md"]


def test_committed_files_are_what_the_code_says() -> None:
    """A changed model, setting or topic needs `python -m worker.tools.asyncapi`, and the change shows in review."""
    committed = {path.relative_to(SCHEMAS).as_posix(): path.read_text(encoding="utf-8") for path in _generated(SCHEMAS)}
    assert committed == contract_files(SCHEMAS / "examples", DEFAULTS)


def test_one_command_writes_all_files_to_a_directory_of_choice(tmp_path: Path) -> None:
    """The documented command line works, and describes the deployment whose settings it finds."""
    shutil.copytree(SCHEMAS / "examples", tmp_path / "examples")
    environment = {"PASSPORT_TOPIC_COMMANDS": "our.commands", "PASSPORT_GROUP_ID": "ours"}
    subprocess.run([sys.executable, "-m", "worker.tools.asyncapi", str(tmp_path)], check=True, env=environment)
    assert {path.name for path in _generated(tmp_path)} == {path.name for path in _generated(SCHEMAS)}
    addresses = [one["address"] for one in yaml.safe_load((tmp_path / ASYNCAPI).read_text())["channels"].values()]
    assert (addresses[0], addresses[-1]) == ("our.commands", "our.commands.ours.dlq")


def test_channels_are_the_topics_that_the_worker_makes() -> None:
    """Address, partitions, replicas and every topic setting, as `topics create` sets them."""
    channels = {channel["address"]: channel["bindings"]["kafka"] for channel in DOCUMENT["channels"].values()}
    wanted = wanted_topics(DEFAULTS)
    assert list(channels) == [one.name for one in wanted]
    for one in wanted:
        kafka = channels[one.name]
        assert kafka["partitions"] == one.partitions
        assert kafka["replicas"] == DEFAULTS.topic_replication
        shown = {
            name: ",".join(v) if isinstance(v, list) else str(v) for name, v in kafka["topicConfiguration"].items()
        }
        assert shown == one.settings


def test_the_worker_receives_commands_and_sends_each_result() -> None:
    """Every channel has its operation; the one that receives names the group."""
    done = {(one["action"], one["channel"]["$ref"].rpartition("/")[2]) for one in DOCUMENT["operations"].values()}
    received, *sent = DOCUMENT["channels"]
    assert done == {("receive", received), *(("send", name) for name in sent)}
    assert DOCUMENT["operations"]["receive-command"]["bindings"]["kafka"]["groupId"]["enum"] == [DEFAULTS.group_id]


def test_every_message_is_on_a_channel_and_has_an_example() -> None:
    """Nothing is described that nobody can receive, and nothing goes unshown."""
    placed = [name for channel in DOCUMENT["channels"].values() for name in channel["messages"]]
    assert sorted(placed) == sorted(MESSAGES)
    assert all(message["examples"] for message in MESSAGES.values())


def test_results_correlate_by_the_place_of_their_command() -> None:
    """`ce_causationid` is in the headers that every result must have."""
    for name in ("created", "overage-required", "conflict", "rejected"):
        assert MESSAGES[name]["correlationId"]["location"] == "$message.header#/ce_causationid"
    assert "ce_causationid" in DOCUMENT["components"]["schemas"]["resultHeaders"]["required"]


@pytest.mark.parametrize(("name", "part", "value"), list(_examples()))
def test_examples_are_as_their_schemas_say(name: str, part: str, value: object) -> None:
    """Headers and payload of each, also inside a CloudEvent."""
    _validator(name, part).validate(value)


@pytest.mark.parametrize("trace", [None, TRACE], ids=["untraced", "traced"])
@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_headers_of_every_answer_are_as_described_and_no_others(outcome: Outcome, trace: TraceContext | None) -> None:
    """The document says all that the worker writes beside the body."""
    answer = describe(opened()._replace(trace=trace), outcome, LINK_BASE)
    headers = {name: (value or b"").decode() for name, value in event_of(answer, TOPIC, 3).headers}
    _validator(answer.kind.label, "headers").validate(headers)
    own = MESSAGES[answer.kind.label]["headers"]["allOf"][1]["properties"]
    assert not headers.keys() - own.keys() - DOCUMENT["components"]["schemas"]["resultHeaders"]["properties"].keys()


def test_headers_of_a_dead_letter_are_as_described() -> None:
    """Beside those that the command had, or in place of them all."""
    command = opened(b"{", ("idempotency-key", b"k"))
    assert command.dead_letter is not None
    event = dead_letter_event(command.dead_letter, command.source, DEFAULTS.group_id)
    headers = {name: (value or b"").decode() for name, value in event.headers}
    _validator("dead-letter", "headers").validate(headers)
    described = MESSAGES["dead-letter"]["headers"]["properties"].keys()
    assert headers.keys() == {"idempotency-key", *described} - {"dlq-omitted-bytes", "dlq-omitted-headers"}
    too_large = opened(b"x" * 3 * 1024 * 1024, ("idempotency-key", b"k")).dead_letter
    assert too_large is not None
    event = dead_letter_event(too_large, command.source, DEFAULTS.group_id)
    assert {name for name, _ in event.headers} == described - {"dlq-omitted-headers"}


@pytest.mark.parametrize(
    ("name", "part", "wrong"),
    [
        ("create", "payload", {"productId": "6650a1b2c3d4e5f6a7b8c9d0"}),
        ("create-structured", "payload", {"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": {}}),
        ("create", "headers", {"idempotency-key": "k"}),
        ("create-structured", "headers", {"authorization": "Bearer tp_1", "content-type": "application/json"}),
        ("created", "headers", MESSAGES["conflict"]["examples"][0]["headers"]),
        ("dead-letter", "headers", {"dlq-reason": "not-json"}),
    ],
)
def test_what_is_wrong_breaks_its_schema(name: str, part: str, wrong: object) -> None:
    """The schemas of the document do not just take everything."""
    assert not _validator(name, part).is_valid(wrong)


def test_limits_and_addresses_follow_the_settings() -> None:
    """The document of a deployment with other settings says them."""
    settings = Settings.model_construct(limit_value_bytes=12345, topic_partitions=48, topic_replication=3)
    examples = {name.removesuffix(".v1.valid"): json.loads(text) for name, text in _example_texts()}
    document: Any = asyncapi(settings, examples)
    assert "12345 bytes" in document["info"]["description"]
    kafka = document["channels"]["created"]["bindings"]["kafka"]
    assert (kafka["partitions"], kafka["replicas"]) == (48, 3)


def _example_texts() -> Iterator[tuple[str, str]]:
    for path in (SCHEMAS / "examples").glob("*.valid.json"):
        yield path.stem, path.read_text(encoding="utf-8")


def _validator(name: str, part: str) -> Draft202012Validator:
    schema = {"$ref": f"{ASYNCAPI}#/components/messages/{name}/{part}"}
    return Draft202012Validator(schema, registry=_registry())
