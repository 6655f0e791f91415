"""The build steps of the container work, and what they make runs as promised: all that shows without Docker."""

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.dockerfile import EPOCH, FILE, ROOT, Build, arguments, stages, variables
from tests.deploy.licences import not_allowed
from tests.deploy.release import PROJECT, copy_of_the_tree
from tests.infrastructure.once import made_once
from tests.workbench import get
from worker import __version__
from worker.tools.demo.embedded import free_port

# The first test installs two sets of packages: 75 s alone, minutes on a machine that does other work.
pytestmark = pytest.mark.timeout(600)

REQUIREMENTS = ("deploy/requirements.txt", "deploy/build-requirements.txt")
PROGRAM = "opt/worker/bin/passport-worker"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The image's files below a folder: the Dockerfile's own steps were run there."""
    return Build(made_once(tmp_path_factory.getbasetemp(), "image", lambda root: Build(root).run()))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a release holds, as its workflow makes it, from another clone than the image."""
    tree = tmp_path_factory.mktemp("tree")
    return made_once(tmp_path_factory.getbasetemp(), "release", lambda dist: _release(copy_of_the_tree(tree), dist))


def _release(tree: Path, dist: Path) -> None:
    done = subprocess.run(
        ["bash", ".ci/build", str(dist)],
        cwd=tree,
        env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def bill(released: Path) -> dict[str, Any]:
    """The bill of materials of the release."""
    (file,) = released.glob("*.cdx.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _environment(build: Build) -> dict[str, str]:
    """A container's environment: what the last stage sets, and no home."""
    return variables(stages()[1]) | {"PATH": str(build.root / "opt/worker/bin"), "HOME": "/nonexistent"}


def _run(build: Build, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = _environment(build) | more
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _files(folder: Path) -> dict[Path, int]:
    """When each file and folder below was last changed, in nanoseconds."""
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_hadolint_has_nothing_to_say() -> None:
    """https://github.com/hadolint/hadolint, with all its rules."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([str(hadolint), str(FILE)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.long
def test_build_steps_make_a_program_that_runs(built: Build) -> None:
    """The wheel holds all that the worker needs: its version, its settings, and its packaged SQL."""
    program = str(built.root / PROGRAM)
    assert _run(built, program, "--version").stdout.strip() == __version__
    assert "PASSPORT_KAFKA_BOOTSTRAP_SERVERS" in _run(built, program, "settings").stdout
    code = "from worker.store.schema import known_migrations; print(len(known_migrations()))"
    assert int(_run(built, "python", "-c", code).stdout) >= 1


@pytest.mark.long
def test_image_holds_the_released_wheel(built: Build, released: Path) -> None:
    """To the byte: who has checked the wheel has checked what the image runs."""
    (wheel,) = (built.root / "wheels").iterdir()
    assert wheel.read_bytes() == (released / wheel.name).read_bytes()


@pytest.mark.long
def test_checksums_are_those_of_the_release(released: Path) -> None:
    """Wheel, sdist and bill of materials."""
    lines = (released / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.name: path for path in released.iterdir() if path.name != "SHA256SUMS"}
    assert len(files) == 3
    assert sums == {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


@pytest.mark.long
def test_bill_of_materials_names_what_is_installed_in_the_image(built: Build, bill: dict[str, Any]) -> None:
    """Each package with its version, and the worker as the subject. GitHub attests no bill without a serial number."""
    code = "from importlib.metadata import distributions as all; print(*(f'{d.name}=={d.version}' for d in all()))"
    installed = set(_run(built, "python", "-c", code).stdout.split())
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    worker = bill["metadata"]["component"]
    assert (worker["name"], worker["version"]) == ("passport-worker", __version__)
    listed = {f"{one['name']}=={one['version']}" for one in bill["components"]}
    assert installed == listed | {f"passport-worker=={__version__}"}


@pytest.mark.long
def test_licences_in_the_image_are_allowed(bill: dict[str, Any]) -> None:
    """A package with another one, or with none, fails here until somebody has read it (`tests/deploy/licences.py`)."""
    refused = {one["name"]: unknown for one in bill["components"] if (unknown := not_allowed(one))}
    assert refused == {}


@pytest.mark.long
def test_bytecode_in_the_image_holds_no_time(built: Build) -> None:
    """It is found by its source's hash, which is not even compared (PEP 552), so it is the same in each build."""
    files = list((built.root / "opt/worker/lib").rglob("*.pyc"))
    assert len(files) > 1000
    assert {path.read_bytes()[4:8] for path in files} == {b"\1\0\0\0"}


@pytest.mark.long
def test_image_serves_the_console_with_its_style(built: Build) -> None:
    """Templates and static files are in the wheel; while servers are away its pages say so."""
    port = free_port()
    process = subprocess.Popen(
        [str(built.root / PROGRAM), "console", "--port", str(port)],
        env=_environment(built) | {"PASSPORT_DATABASE_URL": "postgresql://127.0.0.1:1/none"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while (found := get(f"{address}/"))[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found[0] == 200
        for file in ("console.css", "console.js"):
            assert f"/static/{file}" in found[1]
            assert get(f"{address}/static/{file}")[0] == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.long
@pytest.mark.parametrize("module", ["uvloop", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"])
def test_image_has_the_faster_loop_and_tracing(built: Build, module: str) -> None:
    """The extras that production uses are in it."""
    assert _run(built, "python", "-c", f"import {module}").returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("module", ["pip", "setuptools", "hatchling", "pytest"])
def test_image_has_no_build_tools(built: Build, module: str) -> None:
    """Nothing is installed at run time, neither into the worker's environment nor into the image's Python."""
    assert _run(built, "python", "-c", f"import {module}").returncode == 1
    if module == "pip":
        assert _run(built, str(built.python / "bin/python"), "-m", "pip", "--version").returncode == 1


@pytest.mark.long
def test_worker_is_healthy_while_servers_are_away_and_writes_no_file(built: Build, tmp_path: Path) -> None:
    """The health check is the Dockerfile's own; the file system may be read-only; SIGTERM ends it with 0."""
    before, port = _files(built.root), free_port()
    assert _health(built, port) != 0
    with _worker(built, port, tmp_path) as worker:
        deadline = time.monotonic() + 30
        while (answer := _health(built, port)) != 0 and time.monotonic() < deadline:
            assert worker.poll() is None
            time.sleep(0.1)
        assert answer == 0
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=15) == 0
    assert _files(built.root) == before
    assert not list(tmp_path.iterdir())


def _health(build: Build, port: int) -> int:
    """The exit code of the image's health check, asked of another port, with a proxy in the environment."""
    (check,) = arguments("HEALTHCHECK")
    words = json.loads(check.partition(" CMD ")[2])
    words[-1] = words[-1].replace(":8080/", f":{port}/")
    return _run(build, *words, http_proxy="http://127.0.0.1:1").returncode


@contextmanager
def _worker(build: Build, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What the image starts, with servers that are not there; loopback in place of all addresses."""
    words = [*json.loads(arguments("ENTRYPOINT")[0]), *json.loads(arguments("CMD")[0])]
    environment = _environment(build) | {
        "PASSPORT_HTTP_HOST": "127.0.0.1",
        "PASSPORT_HTTP_PORT": str(port),
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "PASSPORT_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "TMPDIR": str(folder),
    }
    program = build.root / "opt/worker/bin" / words[0]
    worker = subprocess.Popen([str(program), *words[1:]], env=environment, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the build has it, to make a user")
def test_user_of_the_container_is_made(tmp_path: Path) -> None:
    """Libraries ask for the user's name; the user has no password, home or shell."""
    (command,) = (one.arguments for one in stages()[1] if one.name == "RUN")
    (part,) = (part for part in command.split("&&") if "useradd" in part)
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        shutil.copy(f"/etc/{name}", tmp_path / "etc")
    subprocess.run(part.replace("useradd", f"useradd --prefix {tmp_path}"), shell=True, check=True, timeout=60)
    last = (tmp_path / "etc/passwd").read_text(encoding="utf-8").splitlines()[-1].split(":")
    assert last[0] == "worker"
    assert f"{last[2]}:{last[3]}" == arguments("USER")[-1]
    assert last[5:] == ["/nonexistent", "/usr/sbin/nologin"]


def test_base_images_are_one_pinned_python() -> None:
    """The environment that is built in one stage runs on the interpreter of the other: they must be the same."""
    images = {argument.split(" AS ")[0] for argument in arguments("FROM")}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", images.pop())


def test_environment_is_copied_to_where_it_was_built() -> None:
    """The programs of a virtual environment name their interpreter by its path."""
    (copy,) = (argument.split()[1:] for argument in arguments("COPY") if argument.startswith("--from=build"))
    assert copy == ["/opt/worker", "/opt/worker"]


def test_container_runs_as_a_numeric_user_that_is_not_root() -> None:
    """Kubernetes' runAsNonRoot can only judge a number."""
    users = arguments("USER")
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_release_names_the_base_image_and_itself() -> None:
    """The base image, with its digest, is an argument, and stands in a label as the version and the revision do."""
    given = {one.arguments.partition("=")[0] for one in stages()[1] if one.name == "ARG"}
    assert given == {"PYTHON_IMAGE", "VERSION", "REVISION", "SOURCE"}
    (labels,) = arguments("LABEL")
    shown = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', labels))
    assert {name: value for name, value in shown.items() if "$" in value} == {
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "source": "${SOURCE}",
        "base.name": "${PYTHON_IMAGE}",
    }
    assert shown["licenses"] == PROJECT["license"]


def test_container_asks_the_worker_how_it_is() -> None:
    """The check asks the live probe of the default port, with the only HTTP client in the image: Python."""
    (check,) = arguments("HEALTHCHECK")
    assert 'CMD ["python", "-c", ' in check
    assert "http://127.0.0.1:8080/livez" in check


def test_container_can_be_probed_from_outside() -> None:
    """Loopback, the default, would hide health and metrics in the container."""
    assert variables(stages()[1])["PASSPORT_HTTP_HOST"] == "0.0.0.0"


def test_container_runs_the_worker() -> None:
    """Arguments of `docker run` are commands of the command line; without any, the worker runs."""
    assert arguments("ENTRYPOINT") == ['["passport-worker"]']
    assert arguments("CMD") == ['["run"]']


def test_build_context_holds_what_the_wheel_needs_and_no_more() -> None:
    """The Dockerfile copies exactly what `.dockerignore` lets in."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {
        source
        for argument in arguments("COPY")
        if not argument.startswith("--from")
        for source in argument.split()[:-1]
    }
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "worker", *REQUIREMENTS}
