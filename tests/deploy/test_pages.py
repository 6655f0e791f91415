"""The pages on production are right: their overlays render, and the objects and files that they name exist."""

import json
import re
import subprocess
from copy import deepcopy
from pathlib import Path

import pytest

from tests.deploy.manifests import (
    DEPLOY,
    Manifest,
    build,
    containers,
    environment,
    of_kind,
    pods,
    rendered,
    verified_servers,
)
from tests.deploy.pages import PAGES, PRODUCTION, blocks, check_shell, missing_objects, named, page
from tests.deploy.strict import check
from tests.infrastructure.tools import tool
from worker import __version__
from worker.tools.cli.main import app

ALL = "\n".join(page(name) for name in PAGES)


def _section(place: str) -> str:
    """A section, as links name it: `kubernetes.md#Your overlay`."""
    name, _, heading = place.partition("#")
    text = re.split(rf"\n##+ {re.escape(heading)}\n", page(name))[1]
    return text.partition("\n##")[0]


def _built(folder: Path, heading: str) -> tuple[Manifest, ...]:
    """The section's YAML as a team keeps it, with a checkout of this repository beside it, rendered."""
    (folder / "mine").mkdir()
    (folder / "passport-worker").mkdir()
    (folder / "passport-worker" / "deploy").symlink_to(DEPLOY)
    for block in blocks(_section(heading), "yaml"):
        name = re.match(r"# (\S+\.yaml)\n", block)
        (folder / "mine" / (name[1] if name else "kustomization.yaml")).write_text(block, encoding="utf-8")
    return build(folder / "mine")


_OVERLAY = "kubernetes.md#Your overlay"
_NO_OPERATORS = "kubernetes-platforms.md#A platform without the operators"
_CONSOLE = "console.md#On Kubernetes"
_ARGO = "gitops.md#Argo CD"


@pytest.mark.parametrize("heading", [_OVERLAY, _NO_OPERATORS, _CONSOLE, _ARGO])
def test_overlays_of_the_page_render(heading: str, tmp_path: Path) -> None:
    """Each object is valid and in one namespace that enforces the restricted standard; image and settings are set."""
    manifests = _built(tmp_path, heading)
    for manifest in manifests:
        check(manifest)
    (namespace,) = of_kind(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    places = {one["metadata"].get("namespace") for one in manifests if one["kind"] != "Namespace"}
    assert places == {namespace["metadata"]["name"]}
    workloads = [container for pod in pods(manifests).values() for container in containers(pod)]
    (image,) = {one["image"] for one in workloads}
    released = re.escape(f"registry.example.com/passport-worker:{__version__}")
    assert re.fullmatch(f"{released}@sha256:[0-9a-f]{{64}}", image)
    settings = dict(re.findall(r"^ +(?:- )?(PASSPORT_\w+)(?:=|: )(\S+)$", _section(heading), re.MULTILINE))
    (container,) = containers(pods(manifests)["passport-worker-console" if heading == _CONSOLE else "passport-worker"])
    assert settings or heading == _ARGO
    assert settings.items() <= environment(container, manifests).items()


def test_the_console_of_the_page_has_names_and_servers_of_its_own(tmp_path: Path) -> None:
    """What the page says to patch is patched: host and issuer, the sign-on's pods, Strimzi's authority."""
    manifests = _built(tmp_path, _CONSOLE)
    pod = pods(manifests)["passport-worker-console"]
    (container,) = containers(pod)
    assert container["args"] == ["console", "--host=0.0.0.0", "--allowed-host=passports.example.com"]
    settings = environment(container, manifests)
    assert settings["PASSPORT_CONSOLE_ISSUER"] == "https://login.example.eu/realms/staff"
    assert settings["PASSPORT_CONSOLE_JWKS"].startswith(settings["PASSPORT_CONSOLE_ISSUER"])
    assert settings["PASSPORT_CONSOLE_TOKEN_HEADER"] == "Authorization"
    policy = of_kind(manifests, "NetworkPolicy")["passport-worker-console-from-sign-on"]["spec"]
    assert policy["ingress"][0]["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "sign-on"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "oauth2-proxy"}},
        }
    ]
    (authority,) = [one for one in pod["spec"]["volumes"] if one["name"] == "kafka-ca"]
    assert authority["secret"]["secretName"] == "dpp-cluster-ca-cert"


def test_each_migration_lets_the_console_of_the_page_read(tmp_path: Path) -> None:
    """Also the tables that a new version brings: after an upgrade its pages would lack a right."""
    (container,) = containers(pods(_built(tmp_path, _CONSOLE))["passport-worker-migrate"])
    (role,) = re.findall(r"CREATE ROLE (\w+) LOGIN", _section(_CONSOLE))
    assert f"postgresql://{role}:" in _section(_CONSOLE)
    assert container["args"] == ["migrate", "--grant-to", "passport_worker", "--grant-read-to", role]


@pytest.mark.parametrize(
    ("heading", "authority"),
    [
        (_OVERLAY, "passports-db-ca"),
        (_CONSOLE, "passports-db-ca"),
        (_NO_OPERATORS, "passport-worker-database-ca"),
    ],
)
def test_servers_of_the_page_have_to_prove_who_they_are(heading: str, authority: str, tmp_path: Path) -> None:
    """All that has a database in one overlay asks one authority; and no URL of the page says otherwise."""
    assert set(verified_servers(_built(tmp_path, heading)).values()) == {authority}
    assert "sslmode=" not in ALL


def test_without_operators_pods_reach_servers_outside_of_the_cluster(tmp_path: Path) -> None:
    """And the base's placeholder for Kafka, which is nobody's, is left in no setting."""
    manifests = _built(tmp_path, _NO_OPERATORS)
    for name, network in (("kafka", "192.0.2.0/28"), ("postgres", "198.51.100.7/32")):
        (rule,) = of_kind(manifests, "NetworkPolicy")[f"passport-worker-to-{name}"]["spec"]["egress"]
        assert rule["to"] == [{"ipBlock": {"cidr": network}}]
    assert "kafka:9093" not in str(of_kind(manifests, "ConfigMap"))
    custom = {one["apiVersion"] for one in manifests if one["apiVersion"].count(".") > 1}
    assert custom == {"networking.k8s.io/v1"}


def test_objects_that_commands_name_exist() -> None:
    """A command that is pasted finds what it asks for; what else it names, an earlier one has made."""
    assert all(named(ALL, word) for word in ("deployment", "job", "cronjob", "scaledobject"))
    assert missing_objects(ALL) == {"job/catalogue-1", "job/migrate-plan", "job/revoke-anna"}


def _made_of(manifest: Manifest, text: str) -> Manifest:
    """What a page makes of an object with `jq`, in the block that has this text. Valid."""
    (block,) = [one for one in blocks(ALL, "sh") if text in one and "jq '" in one]
    (program,) = re.findall(r"jq '([^']*)'", block)
    done = subprocess.run([tool("jq"), program], input=json.dumps(manifest), capture_output=True, text=True, check=True)
    made: Manifest = json.loads(done.stdout)
    check(made)
    return made


def _changed(job: Manifest, name: str) -> Manifest:
    """What a page makes of a Job, where it goes on with the Job of this name. It is of the owner."""
    made = _made_of(job, f"job/{name}")
    (container,) = containers(made["spec"]["template"])
    app.parse_args(container["args"], exit_on_error=False, print_error=False)
    assert environment(container, ())["PASSPORT_DATABASE_URL"].startswith("postgresql://passports_owner@")
    assert made["metadata"]["name"] == name
    return container


def test_a_job_of_the_owner_revokes_a_key() -> None:
    """The workers' role may not."""
    template = of_kind(rendered(PRODUCTION), "CronJob")["passport-worker-catalogue"]["spec"]["jobTemplate"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "revoke-anna"}, "spec": template["spec"]}
    assert _changed(job, "revoke-anna")["args"][:4] == ["keys", "revoke", "3f2a9c", "--execute"]


def test_a_job_of_the_new_version_plans_its_migration() -> None:
    """The pods that run have the old version, by which there is nothing to do."""
    job = of_kind(rendered(PRODUCTION), "Job")["passport-worker-migrate"]
    assert _changed(job, "migrate-plan")["args"] == ["migrate", "--plan"]


def test_patch_of_the_page_lets_all_old_pods_go() -> None:
    """Where a halted partition holds a rollout up: the patched Deployment is valid, and no old pod has to wait."""
    (patch,) = re.findall(r"patch deployment/passport-worker \\\n  --patch '(.*)'", page("upgrade.md"))
    deployment = deepcopy(of_kind(rendered(PRODUCTION), "Deployment")["passport-worker"])
    rolling = json.loads(patch)["spec"]["strategy"]["rollingUpdate"]
    deployment["spec"]["strategy"]["rollingUpdate"] |= rolling
    check(deployment)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "100%"}


def test_operator_is_told_of_a_changed_password() -> None:
    """CloudNativePG reads the Secret of a managed role anew only where it has this label."""
    (cluster,) = of_kind(rendered(PRODUCTION), "Cluster").values()
    (role,) = cluster["spec"]["managed"]["roles"]
    assert f"label secret {role['passwordSecret']['name']} cnpg.io/reload=true\n" in page("kubernetes.md")


def test_selectors_of_commands_select_something() -> None:
    """An upgrade would otherwise apply nothing, and say nothing."""
    found = [one["metadata"].get("labels", {}) for one in rendered(PRODUCTION)]
    labels = {f"{key}={value}" for one in found for key, value in one.items()}
    named = set(re.findall(r"--selector ([^\s)]+)", ALL))
    assert len(named) == 2
    assert named <= labels


def test_files_that_pages_name_exist() -> None:
    """Paths are relative to the root of the repository, or, in tables of files, to the page's folder."""
    named = set(re.findall(r"(?<![\w/.])deploy/[\w./-]*\w", ALL))
    for name in ("README.md", "monitoring/README.md"):
        _, _, table = page(name).partition("\n## What is here\n")
        first_column = re.findall(r"^\| (`.*?) \|", table.partition("\n##")[0], flags=re.MULTILINE)
        folder = Path("deploy", name).parent
        named |= {str(folder / path) for cell in first_column for path in re.findall(r"`([^`]+)`", cell)}
    missing = {path for path in named if not (DEPLOY.parent / path).exists()}
    assert len(named) > 20
    assert not missing


@pytest.mark.parametrize("name", PAGES)
def test_shell_of_a_page_is_shell(name: str) -> None:
    """No block has a quote too few."""
    check_shell(page(name))


def test_production_has_shell_to_check() -> None:
    """The check above finds the blocks, also those in lists."""
    assert len(blocks(ALL, "sh")) == len(re.findall(r"^ *```sh$", ALL, re.MULTILINE)) > 30


@pytest.mark.parametrize(
    ("pod", "user"), [("passport-shell", "passport-worker"), ("passport-redriver", "passport-redriver")]
)
def test_a_pod_of_the_page_runs_verbs_as_its_user(pod: str, user: str) -> None:
    """Made of the workers' Deployment: it answers no command, and takes the password of its user."""
    deployment = of_kind(rendered(PRODUCTION), "Deployment")["passport-worker"]
    made = _made_of(deployment, f'name: "{pod}"')
    (container,) = made["spec"]["containers"]
    assert (container["command"], container.keys() & {"args", "livenessProbe"}) == (["sleep", "86400"], set())
    assert environment(container, rendered(PRODUCTION))["PASSPORT_KAFKA_SASL_USERNAME"] == user
    (volume,) = [one for one in made["spec"]["volumes"] if one["name"] == "kafka-credentials"]
    assert volume["secret"]["secretName"] == user
    assert made["metadata"]["labels"] == deployment["spec"]["template"]["metadata"]["labels"]
