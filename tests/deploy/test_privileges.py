"""The components for Strimzi and CloudNativePG bring what the worker uses, and nobody gets more than it needs."""

import re
from urllib.parse import urlsplit

import pytest

from tests.deploy.manifests import (
    Manifest,
    containers,
    environment,
    of_kind,
    pods,
    rendered,
    renderings,
    secret_files,
    together,
    verified_servers,
)
from tests.deploy.pages import PRODUCTION, page
from tests.infrastructure.kafka_user import KAFKA_USER, acls_of, kafka_user_acls
from worker.settings import Settings
from worker.stream.cluster.permissions import needed_acls
from worker.tools.common.acls import asking_acls
from worker.tools.common.wanted_topics import wanted_topics
from worker.tools.dead_letters.publishing import redriving_acls

STRIMZI = "kubernetes/components/strimzi"
TOKENS = "kubernetes/components/kafka-service-account"
CLOUDNATIVE_PG = "kubernetes/components/cloudnative-pg"
DEV = "kubernetes/overlays/dev"
WORKERS, MIGRATE, CATALOGUE = "passport-worker", "passport-worker-migrate", "passport-worker-catalogue"


def _pod(name: str, workload: str) -> Manifest:
    return pods(rendered(name))[workload]


def _container(name: str, workload: str) -> Manifest:
    (container,) = containers(_pod(name, workload))
    return container


def _environment(name: str, workload: str) -> dict[str, str]:
    return environment(_container(name, workload), rendered(name))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As a worker reads them that Strimzi's component has given its own."""
    for key, value in _environment(STRIMZI, WORKERS).items():
        if key.startswith("PASSPORT_") and not value.startswith("/"):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("PASSPORT_KAFKA_SASL_PASSWORD", "in place of the file")
    return Settings()


def test_the_redriver_may_do_what_redrive_needs(settings: Settings) -> None:
    """No more and no less, each right once, in the user's own Secret."""
    user = of_kind(rendered("kubernetes/components/redriver"), "KafkaUser")["passport-redriver"]
    needed = {*redriving_acls(settings), *asking_acls(settings)}
    assert sorted(map(str, acls_of(user))) == sorted(map(str, needed))
    assert user["metadata"]["labels"]["strimzi.io/cluster"] == "dpp"


def test_topics_are_those_that_the_worker_wants(settings: Settings) -> None:
    """By name, partitions and settings; what else is set keeps answers on two brokers."""
    topics = of_kind(rendered(STRIMZI), "KafkaTopic")
    wanted = wanted_topics(settings)
    assert topics.keys() == {one.name for one in wanted}
    for one in wanted:
        spec = topics[one.name]["spec"]
        config = {name: str(value) for name, value in spec["config"].items()}
        assert config == {**one.settings, "min.insync.replicas": "2"}
        assert (spec["partitions"], spec["replicas"]) == (one.partitions, settings.topic_replication)
        assert spec["replicas"] > 2


def test_the_user_may_do_what_these_settings_need(settings: Settings) -> None:
    """Names of topics and group are the workers', and the user is the one that they log in as."""
    (user,) = of_kind(rendered(STRIMZI), "KafkaUser").values()
    assert user["metadata"]["name"] == settings.kafka_sasl_username
    assert sorted(map(str, kafka_user_acls())) == sorted(map(str, needed_acls(settings)))
    assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
    assert KAFKA_USER.parent.name == "strimzi"


def test_password_and_authority_come_from_what_strimzi_makes(settings: Settings) -> None:
    """From the user's Secret and the cluster's, which the same namespace has; the brokers are that cluster's."""
    (user,) = of_kind(rendered(STRIMZI), "KafkaUser").values()
    cluster = user["metadata"]["labels"]["strimzi.io/cluster"]
    files = secret_files(_pod(STRIMZI, WORKERS), _container(STRIMZI, WORKERS))
    password = files[_environment(STRIMZI, WORKERS)["PASSPORT_KAFKA_SASL_PASSWORD_FILE"]]
    assert password == f"secret {user['metadata']['name']}/password"
    assert settings.kafka_sasl_mechanism == "SCRAM-SHA-512"
    assert settings.kafka_security_protocol == "SASL_SSL"
    assert settings.kafka_bootstrap_servers == f"{cluster}-kafka-bootstrap:9093"
    volumes = {volume["name"]: volume for volume in _pod(STRIMZI, WORKERS)["spec"]["volumes"]}
    assert volumes["kafka-ca"]["secret"]["secretName"] == f"{cluster}-cluster-ca-cert"
    assert _reach(STRIMZI, "passport-worker-to-kafka")["strimzi.io/cluster"] == cluster
    labels = [one["metadata"]["labels"] for one in of_kind(rendered(STRIMZI), "KafkaTopic").values()]
    assert {one["strimzi.io/cluster"] for one in labels} == {cluster}


def test_a_token_of_the_service_account_takes_the_place_of_a_password() -> None:
    """For Kafka alone: no token lets its holder talk to the Kubernetes API. It is asked for anew every hour."""
    pod, container = _pod(TOKENS, WORKERS), _container(TOKENS, WORKERS)
    variables, files = _environment(TOKENS, WORKERS), secret_files(pod, container)
    assert variables["PASSPORT_KAFKA_SASL_MECHANISM"] == "OAUTHBEARER"
    assert files[variables["PASSPORT_KAFKA_OAUTH_TOKEN_FILE"]] == "token kafka"
    assert "secret passport-worker-kafka/password" not in files.values()
    assert f"oauthbearer.expected.audience={files[variables['PASSPORT_KAFKA_OAUTH_TOKEN_FILE']].split()[1]}" in page(
        "security.md"
    )


def test_the_console_keeps_its_password_beside_workers_with_tokens() -> None:
    """It has a user of its own. It ended with "bad settings" while both took the mechanism from one ConfigMap."""
    manifests = together("kubernetes/components/console", TOKENS)
    mechanisms = {
        workload: environment(container, manifests)["PASSPORT_KAFKA_SASL_MECHANISM"]
        for workload, pod in pods(manifests).items()
        for container in containers(pod)
        if container.get("envFrom")
    }
    assert mechanisms == {WORKERS: "OAUTHBEARER", "passport-worker-console": "SCRAM-SHA-512"}


def _reach(name: str, policy: str) -> dict[str, str]:
    """The labels of the only pods that a policy lets ours reach."""
    (rule,) = of_kind(rendered(name), "NetworkPolicy")[policy]["spec"]["egress"]
    (peer,) = rule["to"]
    assert peer.keys() == {"podSelector"}
    labels: dict[str, str] = peer["podSelector"]["matchLabels"]
    return labels


def test_two_roles_and_neither_is_a_superuser() -> None:
    """The migration grants to the managed role, the workers are it, and only jobs of the owner are the owner."""
    (cluster,) = of_kind(rendered(CLOUDNATIVE_PG), "Cluster").values()
    (role,) = cluster["spec"]["managed"]["roles"]
    owner, database = (cluster["spec"]["bootstrap"]["initdb"][key] for key in ("owner", "database"))
    for attribute in ("superuser", "createdb", "createrole", "replication", "bypassrls"):
        assert role[attribute] is False
    assert cluster["spec"]["enableSuperuserAccess"] is False
    assert _container(CLOUDNATIVE_PG, MIGRATE)["args"] == ["migrate", "--grant-to", role["name"]]
    own_secret, owners_secret = role["passwordSecret"]["name"], f"{cluster['metadata']['name']}-app"
    expected = {
        WORKERS: (role["name"], own_secret),
        MIGRATE: (owner, owners_secret),
        CATALOGUE: (owner, owners_secret),
    }
    for workload, (user, secret) in expected.items():
        found = _environment(CLOUDNATIVE_PG, workload)
        url = urlsplit(found["PASSPORT_DATABASE_URL"])
        assert (url.username, url.password, url.path) == (user, None, f"/{database}")
        assert url.hostname == f"{cluster['metadata']['name']}-rw"
        files = secret_files(_pod(CLOUDNATIVE_PG, workload), _container(CLOUDNATIVE_PG, workload))
        assert files[found["PASSPORT_DATABASE_PASSWORD_FILE"]] == f"secret {secret}/password"


@pytest.mark.parametrize("name", [name for name in renderings() if name != DEV])
def test_the_server_has_to_prove_who_it_is(name: str) -> None:
    """Each container that is given a database: its connection is encrypted, and checked against an authority.

    Seen to fail for the base and the console: the password went to whoever answered.
    """
    by_operator = name in (CLOUDNATIVE_PG, PRODUCTION)
    found = verified_servers(rendered(name))
    assert {re.sub(r"(-\d+){3}$", "", workload) for workload in found} >= {WORKERS, MIGRATE, CATALOGUE}
    assert set(found.values()) == {"passports-db-ca" if by_operator else "passport-worker-database-ca"}


def test_a_cluster_to_develop_on_says_that_it_verifies_nobody() -> None:
    """Nothing is left to a default, and no authority is asked for."""
    manifests = rendered(DEV)
    for workload in (WORKERS, MIGRATE, CATALOGUE):
        variables = _environment(DEV, workload)
        assert (variables["PGSSLMODE"], variables.get("PGSSLROOTCERT")) == ("prefer", None)
        assert "database-ca" not in str(pods(manifests)[workload])


def test_pods_reach_the_primary_of_the_cluster_and_its_authority_vouches() -> None:
    """The operator names the Secret of the authority after the cluster."""
    (cluster,) = of_kind(rendered(CLOUDNATIVE_PG), "Cluster")
    assert cluster == "passports-db"
    assert _reach(CLOUDNATIVE_PG, "passport-worker-to-postgres") == {"cnpg.io/cluster": cluster}


def test_the_log_fits_into_its_volume() -> None:
    """What checkpoints let grow and what is kept for a replica that is away, together."""
    (cluster,) = of_kind(rendered(CLOUDNATIVE_PG), "Cluster").values()
    bounds = {name: int(text.removesuffix("GB")) for name, text in cluster["spec"]["postgresql"]["parameters"].items()}
    assert bounds.keys() == {"max_wal_size", "max_slot_wal_keep_size"}
    assert sum(bounds.values()) < int(cluster["spec"]["walStorage"]["size"].removesuffix("Gi"))


def test_no_failover_loses_a_commit_that_was_answered() -> None:
    """Three instances, on nodes of their own, and one replica at least has each commit, whoever takes over."""
    (cluster,) = of_kind(rendered(CLOUDNATIVE_PG), "Cluster").values()
    spec = cluster["spec"]
    assert spec["instances"] == 3
    assert spec["affinity"]["podAntiAffinityType"] == "required"
    synchronous = spec["postgresql"]["synchronous"]
    assert (synchronous["dataDurability"], synchronous["failoverQuorum"]) == ("required", True)
    assert 1 <= synchronous["number"] < spec["instances"] - 1  # one replica may be away
