"""The commands of the runbook work."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import of_kind, rendered
from tests.deploy.pages import PRODUCTION, blocks, missing_objects, named, page
from tests.deploy.pages import RUNBOOK as PAGES
from tests.deploy.strict import check

RUNBOOK = "\n".join(page(name) for name in PAGES)
SHELL = "\n".join(blocks(RUNBOOK, "sh"))
COMMANDS = SHELL.replace("\\\n", " ").splitlines()


def test_it_needs_no_sql() -> None:
    """What an alert advises is a command of ours."""
    assert "psql" not in RUNBOOK
    assert not re.search(r"\b(SELECT|UPDATE) ", RUNBOOK)


def test_kafka_tools_have_what_a_broker_with_passwords_asks_for() -> None:
    """Without an administrator's settings they fail in production."""
    tools = [one for one in COMMANDS if re.match(r"kafka-[\w-]+\.sh ", one)]
    assert len(tools) == len(re.findall(r"kafka-[\w-]+\.sh ", RUNBOOK)) == 1
    for one in tools:
        assert "--bootstrap-server $KAFKA --command-config admin.properties" in one


def test_objects_that_it_names_exist() -> None:
    """Ours in production, and the pod and the Secret that it has made itself."""
    assert missing_objects(RUNBOOK) == set()
    assert named(RUNBOOK, "deployment") == {"passport-worker"}
    assert named(RUNBOOK, "pod") == {"kafka-tools"}
    assert named(RUNBOOK, "secret") == {"kafka-admin", "dpp-cluster-ca-cert"}
    cluster = of_kind(rendered(PRODUCTION), "Deployment")["passport-worker"]["spec"]["template"]["spec"]["volumes"]
    assert "dpp-cluster-ca-cert" in {volume.get("secret", {}).get("secretName") for volume in cluster}


def test_its_commands_go_to_the_namespace_of_production() -> None:
    """Whose objects have just been looked for."""
    (namespace,) = of_kind(rendered(PRODUCTION), "Namespace")
    asked = re.findall(r"kubectl (\S+ \S+)", SHELL)
    assert len(asked) > 10
    assert set(asked) == {f"--namespace {namespace}"}


def test_services_of_compose_that_it_names_exist() -> None:
    """Each command goes to one."""
    services = yaml.safe_load(page("compose.yaml"))["services"].keys()
    commands = [one.partition("docker compose ")[2].split() for one in COMMANDS if "docker compose " in one]
    assert len(commands) == 3
    assert all(len(services & set(one)) == 1 for one in commands)


def test_its_selectors_find_workers() -> None:
    """By labels of ours."""
    labels = of_kind(rendered(PRODUCTION), "Deployment")["passport-worker"]["spec"]["template"]["metadata"]["labels"]
    ours = f"app.kubernetes.io/component={labels['app.kubernetes.io/component']}"
    assert set(re.findall(r"--selector ([^\s)]+)", SHELL)) == {ours}


def test_its_patch_lets_a_rollout_go_on() -> None:
    """It changes what is there, and is valid."""
    (patch,) = (json.loads(one) for one in re.findall(r"--patch '(.*)'", SHELL))
    deployment = of_kind(rendered(PRODUCTION), "Deployment")["passport-worker"]
    rolling, wanted = (one["spec"]["strategy"]["rollingUpdate"] for one in (deployment, patch))
    assert wanted == {"maxUnavailable": 1 + rolling["maxUnavailable"]}
    check({**deployment, "spec": {**deployment["spec"], "strategy": {"rollingUpdate": {**rolling, **wanted}}}})


@pytest.mark.parametrize("name", ["runbook/README.md", "recover.md"])
def test_output_that_goes_to_a_file_is_as_the_verb_writes_it(name: str, tmp_path: Path) -> None:
    """With a terminal in the pod, files would get colours, other line breaks, and what is meant for stderr."""
    (block,) = [one for one in blocks(page(name), "sh") if "passport() {" in one and "kubectl" in one]
    (function,) = re.findall(r"^passport\(\) \{.*?\}$", block, re.MULTILINE | re.DOTALL)
    (tmp_path / "kubectl").write_text('#!/bin/sh\nprintf "%s " "$@"\n')
    (tmp_path / "kubectl").chmod(0o755)
    script = ["bash", "-euc", f"{function}\npassport lanes --json"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "USER": "anna"}
    ours, theirs = pty.openpty()
    subprocess.run(script, env=environment, stdout=theirs, check=True, timeout=20)
    os.close(theirs)
    at_a_terminal = os.read(ours, 4096).decode()
    os.close(ours)
    piped = subprocess.run(script, env=environment, capture_output=True, text=True, check=True, timeout=20).stdout
    assert " exec --stdin --tty " in at_a_terminal
    assert piped == at_a_terminal.replace(" --tty", "")
    assert piped.endswith(" -- env PASSPORT_OPERATOR=anna passport-worker lanes --json ")
