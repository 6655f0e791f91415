"""The example of a Kafka cluster fits the component beside it, and keeps what exactly once rests on."""

from typing import Any

import yaml

from tests.deploy.manifests import KUBERNETES, of_kind, rendered, renderings
from tests.deploy.strict import check

FILE = KUBERNETES / "components" / "strimzi" / "example" / "kafka.yaml"
OBJECTS = tuple(yaml.safe_load_all(FILE.read_text(encoding="utf-8")))


def _kafka() -> dict[str, Any]:
    ((name, kafka),) = of_kind(OBJECTS, "Kafka").items()
    users = of_kind(rendered("kubernetes/components/strimzi"), "KafkaUser").values()
    assert {one["metadata"]["labels"]["strimzi.io/cluster"] for one in users} == {name}
    spec: dict[str, Any] = kafka["spec"]
    return spec


def test_example_is_valid_by_the_strictest_schema() -> None:
    """A field that Strimzi does not know would be dropped without a word."""
    assert [one["kind"] for one in OBJECTS] == ["KafkaNodePool", "Kafka"]
    for one in OBJECTS:
        check(one)


def test_workers_come_in_by_its_listener_and_nobody_without_rights() -> None:
    """TLS and SCRAM on the port of the component's settings, the authorizer, and operators for topics and users."""
    kafka = _kafka()
    (listener,) = kafka["kafka"]["listeners"]
    assert (listener["port"], listener["tls"]) == (9093, True)
    assert listener["authentication"] == {"type": "scram-sha-512"}
    assert kafka["kafka"]["authorization"] == {"type": "simple"}
    assert kafka["entityOperator"].keys() == {"topicOperator", "userOperator"}


def test_two_brokers_have_what_counts_as_written() -> None:
    """For Kafka's own topics, too, on three nodes; and no topic comes about without its settings."""
    (pool,) = of_kind(OBJECTS, "KafkaNodePool").values()
    config = _kafka()["kafka"]["config"]
    factors = [value for name, value in config.items() if name.endswith("replication.factor")]
    assert factors == [pool["spec"]["replicas"]] * 3 == [3] * 3
    assert config["transaction.state.log.min.isr"] == config["min.insync.replicas"] == 2
    assert config["auto.create.topics.enable"] is config["unclean.leader.election.enable"] is False
    (term,) = pool["spec"]["template"]["pod"]["affinity"]["podAntiAffinity"].values()
    assert [one["topologyKey"] for one in term] == ["kubernetes.io/hostname"]
    labels = pool["metadata"]["labels"] | {"strimzi.io/pool-name": pool["metadata"]["name"]}
    assert term[0]["labelSelector"]["matchLabels"] == labels


def test_nothing_includes_the_example() -> None:
    """Production's Kafka is not this repository's to make."""
    for name in renderings():
        assert not of_kind(rendered(name), "Kafka")
