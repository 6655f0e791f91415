"""The Kubernetes manifests are valid, hang together, and set what the worker knows and accepts."""

import re
import subprocess
from inspect import signature
from pathlib import Path

import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from tests.deploy.manifests import (
    DEPLOY,
    Manifest,
    containers,
    environment,
    of_kind,
    pods,
    rendered,
    renderings,
    secret_files,
    selects,
    texts,
)
from tests.deploy.strict import check
from tests.infrastructure.tools import tool
from worker import __version__
from worker.observability.health import HealthServer
from worker.service import STOP_SECONDS
from worker.settings import Settings
from worker.tools.cli.main import app
from worker.tools.console.command_line import console_command
from worker.tools.console.guard import ALIVE

SETTINGS = {f"PASSPORT_{name.upper()}" for name in Settings.model_fields}
OURS = re.compile(r"passport-worker(:\S+)?")
SECRET_KEYS = {
    "passport-worker-database": {"url"},
    "passport-worker-database-owner": {"url"},
    "passport-worker-database-ca": {"ca.crt"},
    "passport-worker-kafka": {"password"},
    "passport-worker-kafka-ca": {"ca.crt"},
    "passport-worker-console": {"url", "password"},
}
"""The Secrets that deploy/kubernetes-platforms.md tells people to make, with their keys."""

CATALOGUE = "passport-worker-catalogue"
"""The ConfigMap that deploy/kubernetes.md tells people to make, with reference data."""

everywhere = pytest.mark.parametrize("name", renderings())


@everywhere
def test_everything_is_valid_by_the_strictest_schema(name: str) -> None:
    """A field that Kubernetes or an operator does not know would be dropped without a word."""
    for manifest in rendered(name):
        check(manifest)


def test_only_settings_that_exist_are_named() -> None:
    """A misspelt setting would silently leave its default in force."""
    assert len(texts()) > 10
    for path, text in texts().items():
        assert set(re.findall(r"PASSPORT_[A-Z0-9_]*[A-Z0-9]", text)) <= SETTINGS, path


@everywhere
def test_workers_accept_their_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pod sets is read by the worker as it is, with any text in the files that Secrets bring."""
    for pod in pods(rendered(name)).values():
        for container in containers(pod):
            with monkeypatch.context() as patch:
                _set(patch, environment(container, rendered(name)), pod, container, tmp_path)
                Settings()


def _set(
    patch: pytest.MonkeyPatch, variables: dict[str, str], pod: Manifest, container: Manifest, folder: Path
) -> None:
    for key, value in variables.items():
        if value.startswith("/"):
            assert value in secret_files(pod, container), key
            file = folder / Path(value).name
            file.write_text("postgresql://user:password@host/database" if key.endswith("_URL_FILE") else "any text")
            value = str(file)
        patch.setenv(key, value)


@everywhere
def test_jobs_that_change_something_say_who_acts(name: str) -> None:
    """A pod has no user, so the row of `operation` names the Job."""
    changing = [
        environment(container, rendered(name))
        for pod in pods(rendered(name)).values()
        for container in containers(pod)
        if container["args"][0] in ("migrate", "catalogue")
    ]
    assert len(changing) == 2
    assert {variables["PASSPORT_OPERATOR"] for variables in changing} == {"field metadata.labels['job-name']"}


@everywhere
def test_pods_run_commands_that_exist(name: str) -> None:
    """Arguments are those of this version's command line."""
    for pod in pods(rendered(name)).values():
        for container in containers(pod):
            app.parse_args(container["args"], exit_on_error=False, print_error=False)


@everywhere
def test_references_resolve(name: str) -> None:
    """What a pod names is in the same rendering, or the page on production tells how to make it."""
    manifests = rendered(name)
    for pod in pods(manifests).values():
        spec = pod["spec"]
        assert spec["serviceAccountName"] in of_kind(manifests, "ServiceAccount")
        declared = {volume["name"] for volume in spec.get("volumes", [])}
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in {*of_kind(manifests, "ConfigMap"), CATALOGUE}
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= declared
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in of_kind(manifests, "ConfigMap")


@everywhere
def test_secrets_are_named_and_never_kept(name: str) -> None:
    """No rendering holds a Secret; those without an operator that makes them are in the page on production."""
    page = (DEPLOY / "kubernetes-platforms.md").read_text(encoding="utf-8")
    assert not of_kind(rendered(name), "Secret")
    for secret, keys in _secrets(rendered(name)).items():
        if secret.startswith("passport-worker-"):
            assert keys <= SECRET_KEYS[secret]
            assert secret in page


def _secrets(manifests: tuple[Manifest, ...]) -> dict[str, set[str]]:
    """The keys that pods take from Secrets, by the Secret's name."""
    found: dict[str, set[str]] = {}
    for pod in pods(manifests).values():
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                found.setdefault(volume["secret"]["secretName"], set()).update(
                    item["key"] for item in volume["secret"]["items"]
                )
    return found


@everywhere
def test_a_secret_that_changes_needs_no_restart_and_all_else_rolls_the_pods(name: str) -> None:
    """Secrets are files, which are read anew; what is read at the start alone is part of the pod's template.

    A ConfigMap of settings has a hash of its contents in its name. Seen to fail while Secrets were variables.
    """
    for workload, pod in pods(rendered(name)).items():
        for container in containers(pod):
            for variable in container.get("env", []):
                assert "secretKeyRef" not in variable.get("valueFrom", {}), (workload, variable["name"])
            for source in container.get("envFrom", []):
                assert re.fullmatch(r"passport-worker(-console)?-[0-9a-z]{10}", source["configMapRef"]["name"])
            variables = environment(container, rendered(name))
            files = {value for key, value in variables.items() if key.endswith("_FILE")}
            assert files <= secret_files(pod, container).keys()
            assert all("subPath" not in mount for mount in container.get("volumeMounts", []))  # it would never change


@everywhere
def test_each_workload_has_a_service_account_of_its_own(name: str) -> None:
    """What a platform gives one of them, no other has. That of the migration names no version."""
    for workload, pod in pods(rendered(name)).items():
        assert pod["spec"]["serviceAccountName"] == re.sub(r"(-\d+){3}$", "", workload)


@everywhere
def test_what_looks_for_workers_finds_them_and_only_them(name: str) -> None:
    """The Deployment, the disruption budget, the spread and the monitor select the worker's pods, and no Job's."""
    manifests = rendered(name)
    spec = of_kind(manifests, "Deployment")["passport-worker"]["spec"]
    selectors = [
        spec["selector"],
        of_kind(manifests, "PodDisruptionBudget")["passport-worker"]["spec"]["selector"],
        *(one["labelSelector"] for one in spec["template"]["spec"]["topologySpreadConstraints"]),
        *(one["spec"]["selector"] for one in of_kind(manifests, "PodMonitor").values()),
    ]
    for selector in selectors:
        found = {name for name, pod in pods(manifests).items() if selects(selector, pod["metadata"]["labels"])}
        assert found == {"passport-worker"}


@everywhere
def test_images_are_of_this_version(name: str) -> None:
    """`latest`, or no tag, is a different thing every day. In production a digest says which bytes it is."""
    digest = "@sha256:[0-9a-f]{64}" if name.endswith("/production") else ""
    for pod in pods(rendered(name)).values():
        for container in containers(pod):
            assert re.fullmatch(f"passport-worker:{re.escape(__version__)}{digest}", container["image"])


@everywhere
def test_probes_ask_paths_that_the_worker_serves(name: str) -> None:
    """Only `/livez` may restart a worker: not being ready is cured by no restart."""
    worker = _worker(rendered(name))
    (port,) = worker["ports"]
    server = HealthServer("127.0.0.1", 0, list, list, CollectorRegistry())
    served = {resource.canonical for resource in server._runner.app.router.resources()}
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert worker[probe]["httpGet"] == {"path": path, "port": port["name"]}
        assert path in served
    assert str(port["containerPort"]) == environment(worker, rendered(name))["PASSPORT_HTTP_PORT"]


def _worker(manifests: tuple[Manifest, ...]) -> Manifest:
    (container,) = containers(pods(manifests)["passport-worker"])
    return container


def test_the_console_is_asked_where_it_serves_and_its_service_finds_it() -> None:
    """Probes under a path that needs no user, at the port that the command line has by default."""
    manifests = rendered("kubernetes/components/console")
    (container,) = containers(pods(manifests)["passport-worker-console"])
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {ALIVE}
    (port,) = container["ports"]
    assert port["containerPort"] == signature(console_command).parameters["port"].default
    spec = of_kind(manifests, "Service")["passport-worker-console"]["spec"]
    found = {name for name, pod in pods(manifests).items() if selects({"matchLabels": spec["selector"]}, _labels(pod))}
    assert (found, [one["targetPort"] for one in spec["ports"]]) == ({"passport-worker-console"}, [port["name"]])


@pytest.mark.parametrize("changed", [{}, {"pass_host_header": "pass_hst_header"}, {'"4m"': '"often"'}])
def test_the_settings_of_oauth2_proxy_are_valid(changed: dict[str, str], tmp_path: Path) -> None:
    """By oauth2-proxy itself, which refuses unknown names and values; and its upstream is the console's Service."""
    console = DEPLOY / "kubernetes/components/console"
    text = (console / "oauth2-proxy.cfg").read_text(encoding="utf-8")
    for old, new in changed.items():
        text = text.replace(old, new)
    (tmp_path / "oauth2-proxy.cfg").write_text(text, encoding="utf-8")
    own = {
        "OIDC_ISSUER_URL": "https://login.example.com",
        "CLIENT_ID": "passport-console",
        "CLIENT_SECRET": "hidden",
        "COOKIE_SECRET": "0123456789abcdef",
        "REDIRECT_URL": "https://console.example.com/oauth2/callback",
    }
    endpoints = {
        "SKIP_OIDC_DISCOVERY": "true",
        **dict.fromkeys(("LOGIN_URL", "REDEEM_URL", "OIDC_JWKS_URL"), "https://x"),
    }
    done = subprocess.run(
        [tool("oauth2-proxy"), f"--config={tmp_path / 'oauth2-proxy.cfg'}", "--config-test"],
        env={f"OAUTH2_PROXY_{name}": value for name, value in {**own, **endpoints}.items()},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode == 0) is not bool(changed), done
    assert {f"OAUTH2_PROXY_{name}" for name in own} == set(re.findall(r"OAUTH2_PROXY_\w+", text))
    assert 'upstreams = ["http://passport-worker-console.passports.svc/"]' in text
    assert of_kind(rendered("kubernetes/overlays/production"), "Namespace").keys() == {"passports"}


def _labels(pod: Manifest) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels


def test_traces_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads the sampler as it is meant: a misspelt one would keep everything, with a warning."""
    manifests = rendered("kubernetes/components/tracing")
    for name, value in environment(_worker(manifests), manifests).items():
        if name.startswith("OTEL_TRACES_SAMPLER"):
            monkeypatch.setenv(name, value)
    sampler = TracerProvider(shutdown_on_exit=False).sampler
    assert sampler.get_description().startswith("ParentBased{root:TraceIdRatioBased{0.1}")


@everywhere
def test_a_worker_has_time_to_stop(name: str) -> None:
    """It is killed only well after the ten seconds within which it promises to stop."""
    grace = pods(rendered(name))["passport-worker"]["spec"]["terminationGracePeriodSeconds"]
    assert STOP_SECONDS < 10
    assert grace >= 20


def test_signatures_hold_when_production_moves_to_another_topic() -> None:
    """Its overlay names an audience. Signatures that name the default topic go on to hold."""
    manifests = rendered("kubernetes/overlays/production")
    settings = environment(_worker(manifests), manifests)
    assert settings["PASSPORT_SIGNATURE_AUDIENCE"] == Settings.model_fields["topic_commands"].default


@everywhere
def test_there_are_never_more_workers_than_partitions(name: str) -> None:
    """One more would get no partition and stand by: not by replicas, not while rolling, not by the autoscaler."""
    manifests = rendered(name)
    partitions = int(environment(_worker(manifests), manifests)["PASSPORT_TOPIC_PARTITIONS"])
    spec = of_kind(manifests, "Deployment")["passport-worker"]["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxSurge"] == 0
    scaled = of_kind(manifests, "ScaledObject")
    assert ("replicas" in spec) != bool(scaled)
    assert spec.get("replicas", 1) <= partitions
    for one in scaled.values():
        assert one["spec"]["scaleTargetRef"]["name"] == "passport-worker"
        assert 1 <= one["spec"]["minReplicaCount"] <= one["spec"]["maxReplicaCount"] == partitions


def test_every_kustomization_is_rendered() -> None:
    """None is left out of these tests."""
    found = {str(path.parent.relative_to(DEPLOY)) for path in DEPLOY.rglob("kustomization.yaml")}
    assert found == set(renderings())


def test_image_tags_in_kustomizations_are_quoted_nowhere_else() -> None:
    """A new version changes the tags of the kustomizations, and no manifest."""
    for path in (DEPLOY / "kubernetes").rglob("*.yaml"):
        for found in re.findall(r"image: (\S+)", path.read_text(encoding="utf-8")):
            assert found == "passport-worker", path
    base = yaml.safe_load((DEPLOY / "kubernetes/base/kustomization.yaml").read_text(encoding="utf-8"))
    assert [one["newTag"] for one in base["images"]] == [__version__]
