"""The pod with Kafka's tools starts where the runbook has it started."""

import re
from typing import Any

import yaml

from tests.deploy.manifests import DEPLOY
from tests.deploy.pages import page
from tests.deploy.restricted import check_restricted
from tests.deploy.strict import check

POD: dict[str, Any] = yaml.safe_load((DEPLOY / "kafka-tools.yaml").read_text(encoding="utf-8"))
(CONTAINER,) = POD["spec"]["containers"]


def test_it_is_valid_and_fits_the_restricted_standard() -> None:
    """The namespace refuses what falls short."""
    check(POD)
    check_restricted(POD)
    assert POD["spec"]["automountServiceAccountToken"] is False


def test_its_kafka_is_the_one_of_compose() -> None:
    """A version whose tools know the options that the runbook gives them."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    assert CONTAINER["image"] == compose["services"]["kafka"]["image"]


def test_a_shell_in_it_finds_tools_settings_and_brokers() -> None:
    """By the names of the runbook, and at the address that the workers use."""
    variables = {one["name"]: one["value"] for one in CONTAINER["env"]}
    strimzi = (DEPLOY / "kubernetes/components/strimzi/kustomization.yaml").read_text(encoding="utf-8")
    assert f"PASSPORT_KAFKA_BOOTSTRAP_SERVERS={variables['KAFKA']}\n" in strimzi
    assert variables["PATH"].startswith("/opt/kafka/bin:")
    mounted = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    sources = volumes[mounted[CONTAINER["workingDir"]]]["projected"]["sources"]
    files = {item["path"]: one["secret"]["name"] for one in sources for item in one["secret"]["items"]}
    assert files == {"admin.properties": "kafka-admin", "ca.crt": "dpp-cluster-ca-cert"}


def test_the_runbook_names_it_and_makes_its_secret() -> None:
    """Under the names that it has."""
    runbook = page("runbook/PassportLaneReopens.md")
    assert re.findall(r"apply --filename (\S+)", runbook) == ["deploy/kafka-tools.yaml"]
    assert f"exec --stdin --tty pod/{POD['metadata']['name']} " in runbook
    assert "create secret generic kafka-admin --from-file=admin.properties\n" in runbook
