"""The compose file is valid, and agrees with itself, the image and the monitoring files, as far as shows offline."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.deploy.manifests import DEPLOY, texts
from tests.infrastructure.tools import TOOLS, tool
from worker.settings import Settings

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MONITORING = DEPLOY / "monitoring"

SETTINGS = {f"PASSPORT_{name.upper()}" for name in Settings.model_fields}
"""The settings that exist; any other name would be ignored without a word."""

OURS = ("migrate", "topics", "worker")


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _binds() -> Iterator[tuple[str, Path, str]]:
    """Service, file of the repository and path in the container, for what is mounted from here."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                yield name, DEPLOY / source, target


def test_compose_file_is_valid_by_the_specification() -> None:
    """https://github.com/compose-spec: every key is one that Compose knows."""
    schema = TOOLS / "compose-spec.json"
    if not schema.is_file():
        pytest.skip("needs the schema of the compose specification, which .ci/tools installs")
    Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(COMPOSE)


@pytest.mark.parametrize("service", OURS)
def test_only_settings_that_exist_are_set(service: str) -> None:
    """A misspelt setting would silently leave its default in force."""
    names = SERVICES[service]["environment"]
    assert {name for name in names if name.startswith("PASSPORT_")} == set(names)
    assert names.keys() <= SETTINGS


@pytest.mark.parametrize("service", SERVICES)
def test_services_wait_for_services_that_can_fulfil_the_condition(service: str) -> None:
    """Healthy is said by a service with a health check, completed by one that is not started again."""
    for name, dependency in SERVICES[service].get("depends_on", {}).items():
        target = SERVICES[name]
        if dependency["condition"] == "service_healthy":
            assert target["healthcheck"]["test"]
        else:
            assert dependency["condition"] == "service_completed_successfully"
            assert "restart" not in target


def test_workers_start_after_migration_and_topics() -> None:
    """The worker refuses to start without tables and topics, so compose orders them."""
    assert SERVICES["worker"]["depends_on"].keys() == {"kafka", "postgres", "migrate", "topics"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - set(OURS)))
def test_images_are_pinned_to_a_patch_release(name: str) -> None:
    """What is started next year is what was started today."""
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_the_image_of_this_repository(name: str) -> None:
    """All are built from the same Dockerfile, which is where the build looks for it."""
    build = SERVICES[name]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert SERVICES[name]["image"] == "passport-worker:dev"
    assert (context / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_no_tls_is_said_and_not_left_to_a_default() -> None:
    """The image of the database has none; on one machine nobody is in between."""
    urls = {one["environment"]["PASSPORT_DATABASE_URL"] for name, one in SERVICES.items() if name in OURS}
    assert urls
    assert all(url.endswith("?sslmode=disable") for url in urls)


def test_ports_are_bound_to_loopback() -> None:
    """A development password must not be reachable from the network."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_page_names_each_port() -> None:
    """One that is taken on the machine keeps Compose from starting."""
    taken = {port.split(":")[1].replace("-", " to ") for one in SERVICES.values() for port in one.get("ports", [])}
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert taken == set(re.findall(r"^\| [\w ]+ \| (\d{4}(?: to \d{4})?) \|$", page, re.MULTILINE))


def test_there_is_a_host_port_for_a_worker_on_each_partition() -> None:
    """Scaling up to the number of partitions does not run out of ports."""
    first, last = map(int, SERVICES["worker"]["ports"][0].split(":")[1].split("-"))
    assert last - first + 1 == int(SERVICES["worker"]["environment"]["PASSPORT_TOPIC_PARTITIONS"])


def test_volumes_are_declared_and_files_are_here() -> None:
    """Data lives in named volumes, which `down` keeps; all else that is mounted is read only, and in the repository."""
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert {volume.split(":")[0] for volume in volumes if not volume.startswith(".")} == COMPOSE["volumes"].keys()
    for volume in volumes:
        if volume.startswith("."):
            source, _, mode = volume.split(":")
            assert (DEPLOY / source).exists(), source
            assert mode == "ro"


def test_prometheus_accepts_its_configuration_and_rules() -> None:
    """`promtool check config` reads the rules, too: they lie beside the configuration here as in the container."""
    file = MONITORING / "prometheus.yaml"
    done = subprocess.run(
        [tool("promtool"), "check", "config", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rules = [str(MONITORING / name) for name in _yaml(file)["rule_files"]]
    inside = {str(source): target for name, source, target in _binds() if name == "prometheus"}
    assert rules
    assert {Path(inside[rule]).parent for rule in rules} == {Path(inside[str(file)]).parent}
    assert f"--config.file={inside[str(file)]}" in SERVICES["prometheus"]["command"]


def test_prometheus_finds_every_worker() -> None:
    """The name of a service stands for the addresses of all its containers."""
    (job,) = _yaml(MONITORING / "prometheus.yaml")["scrape_configs"]
    assert job["job_name"] == "passport-worker"
    (search,) = job["dns_sd_configs"]
    assert search["names"] == ["worker"]
    assert search["port"] == int(SERVICES["worker"]["ports"][0].rpartition(":")[2])


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    """Provisioning names the service, and a folder into which the dashboard is mounted."""
    inside = {str(source): target for name, source, target in _binds() if name == "grafana"}
    assert inside[str(MONITORING / "grafana")] == "/etc/grafana/provisioning"
    (source,) = _yaml(MONITORING / "grafana/datasources/prometheus.yaml")["datasources"]
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    assert source["url"] == "http://prometheus:9090"
    (provider,) = _yaml(MONITORING / "grafana/dashboards/passport-worker.yaml")["providers"]
    dashboard = Path(inside[str(MONITORING / "dashboard.json")])
    assert str(dashboard.parent) == provider["options"]["path"]
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == str(dashboard)


def test_nothing_is_named_latest() -> None:
    """`latest` is a different thing every day."""
    for path, text in texts().items():
        assert not re.search(r":latest\b", text), path
