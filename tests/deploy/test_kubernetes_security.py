"""Pods fit the *restricted* Pod Security Standard, hold no token, and reach only what they need."""

import re
from collections.abc import Iterator

import pytest

from tests.deploy.manifests import (
    Manifest,
    containers,
    environment,
    names_database,
    of_kind,
    pods,
    rendered,
    renderings,
    selects,
)
from tests.deploy.restricted import check_restricted

everywhere = pytest.mark.parametrize("name", renderings())


@everywhere
def test_pods_fit_the_restricted_standard(name: str) -> None:
    """Namespaces of ours refuse what falls short."""
    for pod in pods(rendered(name)).values():
        check_restricted(pod)


@everywhere
def test_pods_cannot_write_to_their_image(name: str) -> None:
    """What gets into a process cannot change the program; memory has a bound, and the scheduler knows the need."""
    for pod in pods(rendered(name)).values():
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"].keys() == {"memory"}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@everywhere
def test_nobody_finds_a_token_of_the_kubernetes_api(name: str) -> None:
    """The worker never talks to that API."""
    manifests = rendered(name)
    for account in of_kind(manifests, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
    for pod in pods(manifests).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", [name for name in renderings() if "overlays" in name])
def test_namespaces_refuse_pods_that_fall_short(name: str) -> None:
    """Each overlay brings its namespace, with the standard enforced, and puts everything into it."""
    manifests = rendered(name)
    (namespace,) = of_kind(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    places = {one["metadata"].get("namespace") for one in manifests if one["kind"] != "Namespace"}
    assert places == {namespace["metadata"]["name"]}


def _policies(manifests: tuple[Manifest, ...], pod: Manifest, direction: str) -> list[Manifest]:
    """The specs of the policies that hold for a pod's traffic in one direction, `Ingress` or `Egress`."""
    specs = [one["spec"] for one in of_kind(manifests, "NetworkPolicy").values()]
    return [
        spec
        for spec in specs
        if direction in spec["policyTypes"] and selects(spec["podSelector"], pod["metadata"]["labels"])
    ]


def _open_ports(specs: list[Manifest], rules: str, peers: str) -> set[int | str]:
    """The ports that policies open; a rule without ports or peers would open everything."""
    found: set[int | str] = set()
    for spec in specs:
        for rule in spec.get(rules, []):
            assert rule[peers]
            assert rule["ports"]
            found |= {port["port"] for port in rule["ports"]}
    return found


_OPEN = {"passport-worker": {"http"}, "passport-worker-console": {"console"}}
_MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
_SIGN_ON = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "oauth2-proxy"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "oauth2-proxy"}},
}


@everywhere
def test_nothing_comes_in_but_to_read_metrics_and_pages(name: str) -> None:
    """The worker's HTTP port is open to the namespace `monitoring`, the console's to the pods of the sign-on."""
    manifests = rendered(name)
    for workload, pod in pods(manifests).items():
        specs = _policies(manifests, pod, "Ingress")
        assert specs
        assert _open_ports(specs, "ingress", "from") == _OPEN.get(workload, set())
    peers = [
        peer
        for one in of_kind(manifests, "NetworkPolicy").values()
        for rule in one["spec"].get("ingress", [])
        for peer in rule["from"]
    ]
    assert sorted(peers, key=str) == sorted([_MONITORING, *([_SIGN_ON] if name.endswith("/console") else [])], key=str)


@everywhere
def test_pods_reach_the_servers_that_their_settings_name_and_no_others(name: str) -> None:
    """Names, and then Kafka, Postgres and a collector only for who is given an address; HTTPS for the key server."""
    manifests = rendered(name)
    for workload, pod in pods(manifests).items():
        wanted: set[int | str] = {53}
        for container in containers(pod):
            wanted |= set(_ports_of_servers(environment(container, manifests)))
        if workload == "passport-worker" and name.endswith("key-server"):
            wanted.add(443)
        assert _open_ports(_policies(manifests, pod, "Egress"), "egress", "to") == wanted


def _ports_of_servers(settings: dict[str, str]) -> Iterator[int]:
    for server in settings.get("PASSPORT_KAFKA_BOOTSTRAP_SERVERS", "").split(","):
        yield from map(int, re.findall(r":(\d+)$", server))
    if names_database(settings):
        yield 5432
    if settings.get("PASSPORT_CONSOLE_JWKS", "").startswith("https://"):
        yield 443
    yield from map(int, re.findall(r":(\d+)$", settings.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")))
