"""Rendered Kubernetes manifests, as `kubectl apply -k` would send them, and what the tests ask of them."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.infrastructure.tools import tool

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = sorted(path.parent for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
COMPONENTS = [
    *sorted(path.parent for path in KUBERNETES.glob("components/*/kustomization.yaml")),
    DEPLOY / "monitoring",
]

Manifest = dict[str, Any]


def texts() -> dict[Path, str]:
    """All files of `deploy/`; what is not text, such as a picture, is read as far as it is."""
    files = (path for path in DEPLOY.rglob("*") if path.is_file())
    return {path: path.read_text(encoding="utf-8", errors="replace") for path in files}


def renderings() -> list[str]:
    """What is rendered: the base, each overlay, and each component alone on the base; relative to `deploy/`."""
    return ["kubernetes/base", *(str(path.relative_to(DEPLOY)) for path in (*OVERLAYS, *COMPONENTS))]


@cache
def rendered(name: str) -> tuple[Manifest, ...]:
    """The objects of one rendering. Skips the test where kustomize is missing."""
    return together(name) if DEPLOY / name in COMPONENTS else build(DEPLOY / name)


def together(*names: str, **more: object) -> tuple[Manifest, ...]:
    """The objects of the base with some components, and with `more` in the kustomization."""
    with TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        kustomization = {
            "resources": [os.path.relpath(KUBERNETES / "base", root)],
            "components": [os.path.relpath(DEPLOY / name, root) for name in names],
            **more,
        }
        (root / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return build(root)


def build(folder: Path) -> tuple[Manifest, ...]:
    """The objects that a folder's kustomization makes, without a warning. Skips the test where kustomize is missing."""
    done = subprocess.run(
        [tool("kustomize"), "build", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return tuple(yaml.load_all(done.stdout, yaml.CSafeLoader))


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """The objects of a kind, by name."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] == kind}


def pods(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """The pod templates of our own workloads, by the workload's name."""
    workloads = of_kind(manifests, "Deployment") | of_kind(manifests, "Job")
    found = {name: one["spec"]["template"] for name, one in workloads.items()}
    for name, one in of_kind(manifests, "CronJob").items():
        found[name] = one["spec"]["jobTemplate"]["spec"]["template"]
    return found


def containers(pod: Manifest) -> Iterator[Manifest]:
    """All containers of a pod template."""
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def verified_servers(manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """By workload that is given a database: the Secret of the authority that has to vouch for the server's name.

    Fails where the password could go to a server for which none does.
    """
    found = {}
    for workload, pod in pods(manifests).items():
        for container in containers(pod):
            variables = environment(container, manifests)
            if not names_database(variables):
                continue
            assert variables.get("PGSSLMODE") == "verify-full", workload
            assert "sslmode" not in variables.get("PASSPORT_DATABASE_URL", ""), workload
            (mount,) = [one for one in container.get("volumeMounts", []) if one["name"] == "database-ca"]
            assert variables["PGSSLROOTCERT"] == f"{mount['mountPath']}/ca.crt"
            (volume,) = [one for one in pod["spec"]["volumes"] if one["name"] == "database-ca"]
            found[workload] = volume["secret"]["secretName"]
    return found


def names_database(variables: dict[str, str]) -> bool:
    """Whether a container with these variables is given a database."""
    return not variables.keys().isdisjoint({"PASSPORT_DATABASE_URL", "PASSPORT_DATABASE_URL_FILE"})


def secret_files(pod: Manifest, container: Manifest) -> dict[str, str]:
    """The paths of secret files in a container, with what is in them: `secret <name>/<key>`, or `token <audience>`."""
    volumes = {volume["name"]: dict(_secrets_of(volume)) for volume in pod["spec"].get("volumes", [])}
    return {
        f"{mount['mountPath']}/{path}": secret
        for mount in container.get("volumeMounts", [])
        for path, secret in volumes[mount["name"]].items()
    }


def _secrets_of(volume: Manifest) -> Iterator[tuple[str, str]]:
    for item in volume.get("secret", {}).get("items", []):
        yield item["path"], f"secret {volume['secret']['secretName']}/{item['key']}"
    for source in volume.get("projected", {}).get("sources", []):
        token = source["serviceAccountToken"]
        yield token["path"], f"token {token['audience']}"


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a Kubernetes label selector (`matchLabels`, and `matchExpressions` with `In`) matches."""
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def environment(container: Manifest, manifests: tuple[Manifest, ...]) -> dict[str, str]:
    """The variables that a container gets, fields as `field <path>`. None comes from a Secret: Secrets are files."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            found[variable["name"]] = f"field {variable['valueFrom']['fieldRef']['fieldPath']}"
    return found
