"""The container files agree with the product's promises, as far as that shows without Docker."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

SETTINGS = {f"PASSPORT_{name.upper()}" for name in Settings.model_fields}
"""The settings that exist; any other name would be ignored without a word."""

OURS = ("migrate", "topics", "worker")
NEEDED_FOR_THE_WHEEL = ("pyproject.toml", "README.md", "LICENSE", "worker")


def _instructions(name: str) -> list[str]:
    """The arguments of every Dockerfile instruction of one kind, in order."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.removeprefix(f"{name} ").strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def _published_ports() -> Iterator[str]:
    for service in SERVICES.values():
        yield from service.get("ports", [])


@pytest.mark.parametrize("service", OURS)
def test_only_settings_that_exist_are_set(service: str) -> None:
    """A misspelt setting would silently leave its default in force."""
    names = SERVICES[service]["environment"]
    assert {name for name in names if name.startswith("PASSPORT_")} == set(names)
    assert names.keys() <= SETTINGS


def test_readme_and_image_name_only_settings_that_exist() -> None:
    """What operators are told to set exists."""
    text = DOCKERFILE + (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"PASSPORT_[A-Z_]+", text)) <= SETTINGS


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


def test_worker_starts_after_migration_and_topics() -> None:
    """The worker refuses to start without tables and topics, so compose orders them."""
    assert SERVICES["worker"]["depends_on"].keys() == {"kafka", "postgres", "migrate", "topics"}


@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_images_are_pinned_to_a_patch_release(name: str) -> None:
    """What is started next year is what was started today."""
    assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_the_image_of_this_repository(name: str) -> None:
    """All three are built from the same Dockerfile, which is where the build looks for it."""
    build = SERVICES[name]["build"]
    context = (ROOT / "deploy" / build["context"]).resolve()
    assert SERVICES[name]["image"] == "passport-worker:dev"
    assert (context / build["dockerfile"]).samefile(ROOT / "deploy" / "Dockerfile")


def test_nothing_is_named_latest() -> None:
    """`latest` is a different thing every day."""
    for name in ("Dockerfile", "compose.yaml"):
        assert ":latest" not in (ROOT / "deploy" / name).read_text(encoding="utf-8")


def test_ports_are_bound_to_loopback() -> None:
    """A development password must not be reachable from the network."""
    ports = list(_published_ports())
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_there_is_a_host_port_for_a_worker_on_each_partition() -> None:
    """Scaling up to the number of partitions does not run out of ports."""
    first, last = map(int, SERVICES["worker"]["ports"][0].split(":")[1].split("-"))
    assert last - first + 1 == int(SERVICES["worker"]["environment"]["PASSPORT_TOPIC_PARTITIONS"])


def test_volumes_are_declared() -> None:
    """Data lives in named volumes, which `down` keeps."""
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == COMPOSE["volumes"].keys()


def test_base_images_are_one_pinned_python() -> None:
    """The environment that is built in one stage runs on the interpreter of the other: they must be the same."""
    images = {argument.split(" AS ")[0] for argument in _instructions("FROM")}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+", images.pop())


def test_container_runs_as_a_numeric_user_that_is_not_root() -> None:
    """Kubernetes' runAsNonRoot can only judge a number."""
    users = _instructions("USER")
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_container_asks_the_worker_how_it_is() -> None:
    """The check asks the live probe of the default port, with the only HTTP client in the image: Python."""
    (check,) = _instructions("HEALTHCHECK")
    assert 'CMD ["python", "-c", ' in check
    assert "http://127.0.0.1:8080/livez" in check


def test_container_can_be_probed_from_outside() -> None:
    """Loopback, the default, would hide health and metrics in the container."""
    assert any("PASSPORT_HTTP_HOST=0.0.0.0" in argument for argument in _instructions("ENV"))


def test_container_runs_the_worker() -> None:
    """Arguments of `docker run` are commands of the command line; without any, the worker runs."""
    assert _instructions("ENTRYPOINT") == ['["passport-worker"]']
    assert _instructions("CMD") == ['["run"]']


def test_build_context_holds_what_the_wheel_needs_and_no_more() -> None:
    """The Dockerfile copies exactly what `.dockerignore` lets in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {
        source
        for argument in _instructions("COPY")
        if not argument.startswith("--from")
        for source in argument.split()[:-1]
    }
    assert {line[1:] for line in lines if line.startswith("!")} == copied == set(NEEDED_FOR_THE_WHEEL)
