"""The component for a channel brings what workers and company need there, and a limit on what the company may send."""

import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY, Manifest, containers, environment, of_kind, pods, together
from tests.deploy.strict import check
from tests.infrastructure.kafka_user import acls_of
from worker.settings import Settings
from worker.stream.cluster.permissions import Acl, needed_acls
from worker.tools.common.acls import submitting_acls
from worker.tools.common.wanted_topics import wanted_topics

STRIMZI, CHANNEL = "kubernetes/components/strimzi", "kubernetes/components/channel"
ACME = "acme"
COMPANIES = (DEPLOY / "companies.md").read_text(encoding="utf-8")


@cache
def _manifests() -> tuple[Manifest, ...]:
    return together(STRIMZI, CHANNEL, configMapGenerator=[_channels(ACME)])


def _channels(names: str) -> Manifest:
    """What an overlay has for them, as deploy/kubernetes.md says."""
    return {"name": "passport-worker", "behavior": "merge", "literals": [f"PASSPORT_CHANNELS={names}"]}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As a worker reads them that both components have given its own."""
    manifests = _manifests()
    (container,) = containers(pods(manifests)["passport-worker"])
    for key, value in environment(container, manifests).items():
        if key.startswith("PASSPORT_") and not value.startswith("/"):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("PASSPORT_KAFKA_SASL_PASSWORD", "in place of the file")
    return Settings()


def test_everything_is_valid_by_the_strictest_schema() -> None:
    """A quota that Strimzi does not know would be dropped without a word."""
    for manifest in _manifests():
        check(manifest)


def test_topics_are_those_that_the_channel_needs(settings: Settings) -> None:
    """By name, partitions and settings, beside those of the default channel, on the same cluster."""
    topics = of_kind(_manifests(), "KafkaTopic")
    assert settings.channel_names == ("", ACME)
    wanted = [topic for name in settings.channel_names for topic in wanted_topics(settings.of_channel(name))]
    assert topics.keys() == {topic.name for topic in wanted}
    assert len(topics) == 12
    for topic in wanted:
        spec = topics[topic.name]["spec"]
        config = {name: str(value) for name, value in spec["config"].items()}
        assert config == {**topic.settings, "min.insync.replicas": "2"}
        assert (spec["partitions"], spec["replicas"]) == (topic.partitions, settings.topic_replication)
        assert topics[topic.name]["metadata"]["labels"] == {"strimzi.io/cluster": "dpp"}


def test_the_workers_may_do_what_both_channels_need(settings: Settings) -> None:
    """No more and no less, each right once."""
    user = of_kind(_manifests(), "KafkaUser")["passport-worker"]
    assert sorted(map(str, acls_of(user))) == sorted(map(str, needed_acls(settings)))


def test_the_company_publishes_and_reads_results_of_its_channel_alone(settings: Settings) -> None:
    """It reads no commands, which hold credentials, and everything that it may do begins with the channel's name."""
    user = of_kind(_manifests(), "KafkaUser")[ACME]
    acls = acls_of(user)
    own = (Acl("Read", "group", f"{ACME}.", prefixed=True), Acl("Write", "transactionalId", f"{ACME}.", prefixed=True))
    assert sorted(map(str, acls)) == sorted(map(str, (*submitting_acls(settings.of_channel(ACME)), *own)))
    assert all(acl.name.startswith(f"{ACME}.") for acl in acls)
    assert user["metadata"]["labels"] == {"strimzi.io/cluster": "dpp"}


def test_the_company_has_a_limit_that_the_page_repeats() -> None:
    """Strimzi and `kafka-configs` set the same."""
    quotas = of_kind(_manifests(), "KafkaUser")[ACME]["spec"]["quotas"]
    (written,) = re.findall(r"--add-config '([^']*)'", COMPANIES)
    page = dict(one.split("=") for one in written.split(","))
    assert page == {re.sub(r"([A-Z])", r"_\1", name).lower(): str(value) for name, value in quotas.items()}


def test_the_page_gives_the_same_rights() -> None:
    """`kafka-acls` on deploy/companies.md, but for transactional ids, which few producers have."""
    commands = re.findall(r"kafka-acls\.sh (.*?--operation.*?)\n(?! {7})", COMPANIES, re.DOTALL)
    given = {
        Acl(re.findall(r"--operation (\w+)", command)[0], kind, name, "prefixed" in command)
        for command in commands
        for kind, name in re.findall(r"--(topic|group) (\S+)", command)
    }
    user = of_kind(_manifests(), "KafkaUser")[ACME]
    assert given == {acl for acl in acls_of(user) if acl.resource != "transactionalId"}


def test_the_company_is_told_how_it_has_to_name_its_groups() -> None:
    """Seen to fail before: only the operator's page said it, and Kafka denied a service the group of its own choice."""
    (prefix,) = (acl.name for acl in acls_of(of_kind(_manifests(), "KafkaUser")[ACME]) if acl.resource == "group")
    publish, results = (
        " ".join((DEPLOY.parent / "schemas" / name).read_text(encoding="utf-8").split())
        for name in ("publish.md", "read-results.md")
    )
    assert "consumer groups, and take transactional ids, whose names begin with the channel's name and a dot" in publish
    (group,) = re.findall(r"the group's name begins with the channel's name and a dot, such as `(\S+)`", results)
    assert group.startswith(prefix)


def test_another_channel_is_a_copy_with_another_name(tmp_path: Path) -> None:
    """As deploy/kubernetes.md says, with both names in the overlay."""
    copy = tmp_path.resolve() / "channel-globex"
    shutil.copytree(DEPLOY / CHANNEL, copy)
    for path in copy.iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace(ACME, "globex"), encoding="utf-8")
    manifests = together(STRIMZI, CHANNEL, str(copy), configMapGenerator=[_channels(f"{ACME},globex")])
    assert f"PASSPORT_CHANNELS={ACME},globex" in (DEPLOY / "kubernetes.md").read_text(encoding="utf-8")
    (container,) = containers(pods(manifests)["passport-worker"])
    assert environment(container, manifests)["PASSPORT_CHANNELS"] == f"{ACME},globex"
    assert of_kind(manifests, "KafkaUser").keys() == {"passport-worker", ACME, "globex"}
    assert len(of_kind(manifests, "KafkaTopic")) == 18
    rights = [acl.name for acl in acls_of(of_kind(manifests, "KafkaUser")["passport-worker"])]
    assert sum(name.startswith("globex.") for name in rights) == sum(name.startswith(f"{ACME}.") for name in rights) > 0
