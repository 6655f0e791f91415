"""`passport-worker sandbox` as somebody else's CI runs it: a process of its own, without any setting."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from tests.infrastructure.choose import server_directory
from tests.infrastructure.processes import descendants, parents
from tests.integration.test_clients import CLIENTS, JAVA_SELDOM, command_of, printed_results
from tests.schema_checks import check_event
from tests.workbench import REPOSITORY, gtin, tenant

SECONDS = 60.0
_EXPORT = re.compile(r"export (\w+)=(\S+)")


class Sandbox:
    """One that runs. What it says of itself goes to a file, so that it never waits for a reader."""

    def __init__(self, folder: Path, errors: Path, *arguments: str, **environment: str) -> None:
        self._errors = errors
        self.environment = _without_settings(folder)
        with errors.open("wb") as told:
            self.process = subprocess.Popen(
                ["passport-worker", "sandbox", *arguments],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
                start_new_session=True,
            )

    @property
    def told(self) -> str:
        """What it has written to standard error."""
        return self._errors.read_text(encoding="utf-8")

    def settings(self) -> dict[str, str]:
        """Once it is ready: what it printed, all of which is lines of a shell."""
        assert self.process.stdout is not None
        lines = self.process.stdout.read().splitlines()
        found = [match for line in lines if (match := _EXPORT.fullmatch(line))]
        assert len(found) == len(lines) > 0, self.told
        return {match[1]: match[2] for match in found}

    def wait_until_told(self, text: str) -> None:
        """Until standard error has that text."""
        _wait(lambda: text in self.told, lambda: self.told)


def _without_settings(folder: Path) -> dict[str, str]:
    """An environment in which the command is found, and has its data in `folder`."""
    clean = {name: value for name, value in os.environ.items() if "PASSPORT_" not in name}
    return {**clean, "TMPDIR": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _wait(condition: Callable[[], bool], told: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)


StartSandbox = Callable[..., Sandbox]


@pytest.fixture(scope="module")
def settings_of_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of programs that share a sandbox: what it printed, and no other setting."""
    with server_directory() as folder:
        sandbox = Sandbox(folder, tmp_path_factory.mktemp("sandbox") / "told.txt")
        yield {**sandbox.environment, **sandbox.settings()}
        sandbox.process.terminate()
        assert sandbox.process.wait(SECONDS) == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where sandboxes have their data; at the end nothing may be left in it."""
    with server_directory() as path:
        yield path
        _wait(lambda: not any(path.iterdir()), lambda: list(path.iterdir()))


@pytest.fixture
def start_sandbox(folder: Path, tmp_path: Path) -> Iterator[StartSandbox]:
    """Starts a sandbox with some arguments and settings."""
    started: list[Sandbox] = []

    def start(*arguments: str, **environment: str) -> Sandbox:
        started.append(Sandbox(folder, tmp_path / f"told-{len(started)}.txt", *arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.terminate()
        assert one.process.wait(SECONDS) is not None


def _answer(settings: dict[str, str], api_key: str, product_id: str) -> tuple[str, dict[str, object]]:
    """Type and body of the result of a command that says its own time wrongly."""
    servers = {"bootstrap.servers": settings["PASSPORT_KAFKA_BOOTSTRAP_SERVERS"]}
    body = {"productId": product_id, "gs1": {"gtin": gtin(7), "serialNumber": "a"}}
    producer = Producer(servers)
    headers: list[tuple[str, str | bytes | None]] = [("authorization", f"Bearer {api_key}")]
    producer.produce(settings["PASSPORT_TOPIC_COMMANDS"], json.dumps(body), headers=headers, timestamp=1)
    assert producer.flush(30) == 0
    reading = {"group.id": "tests", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = Consumer({**servers, **reading})
    topics = ("CREATED", "OVERAGE_REQUIRED", "CONFLICT", "REJECTED")
    consumer.subscribe([settings[f"PASSPORT_TOPIC_{name}"] for name in topics])
    try:
        result = consumer.poll(SECONDS)
        assert result is not None
        assert result.error() is None
        kind = dict(result.headers() or [])["ce_type"]
        return str(kind, "ascii") if isinstance(kind, bytes) else str(kind), json.loads(result.value() or b"")
    finally:
        consumer.close()


def test_a_channel_is_served_and_its_topics_are_printed(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    """Programs that take names of topics from their settings need to know nothing else of channels."""
    sandbox = start_sandbox("--channel", "acme")
    command, settings = command_of("confluent_kafka_client.py"), sandbox.settings()
    assert settings["PASSPORT_TOPIC_COMMANDS"] == "acme.dpp.passport.create.v1"
    environment = {**sandbox.environment, **{name: value.strip("'") for name, value in settings.items()}}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (result, *_) = printed_results(done.stdout)
    assert result["outcome"] == "eu.tracepass.passport.created.v1"
    plain = {name: value for name, value in environment.items() if not name.startswith("PASSPORT_TOPIC_")}
    plain["PASSPORT_CHANNELS"] = "acme"
    lanes = subprocess.run(
        ["passport-worker", "lanes", "--json"], env=plain, capture_output=True, text=True, timeout=60, check=True
    )
    applied = {lane["channel"]: 0 for lane in json.loads(lanes.stdout)["lanes"]}
    for lane in json.loads(lanes.stdout)["lanes"]:
        applied[lane["channel"]] += lane["applied"]
    assert applied == {"": 0, "acme": 1}


@pytest.mark.parametrize("name", JAVA_SELDOM)
def test_example_programs_run_against_it(settings_of_one: dict[str, str], tmp_path: Path, name: str) -> None:
    """With what it printed and no other setting; the last line is the answer to the program's own command."""
    done = subprocess.run(
        command_of(name), cwd=tmp_path, env=settings_of_one, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    last = printed_results(done.stdout)[-1]
    assert last["outcome"] == "eu.tracepass.passport.created.v1"
    check_event("created", last["body"].encode())


@pytest.mark.repeat
def test_a_group_whose_member_was_killed_gets_no_records_as_the_page_says(settings_of_one: dict[str, str]) -> None:
    """Not after its session has timed out either. Once the broker can do that, the page and the demo need not."""
    told = (REPOSITORY / "schemas" / "test.md").read_text(encoding="utf-8")
    assert "It keeps members of a consumer group that were killed" in " ".join(told.split())
    assert _answer(settings_of_one, "tp_guessed", "6650a1b2c3d4e5f6a7b8c9d0")[1]["status"] == 401
    program = """
import os, sys
from confluent_kafka import Consumer
options = {"session.timeout.ms": 6000, "auto.offset.reset": "earliest"}
servers = {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"], "group.id": "labels"}
consumer = Consumer({**servers, **options})
consumer.subscribe([os.environ["PASSPORT_TOPIC_REJECTED"]])
record = consumer.poll(12.0)
print(record is not None and record.error() is None, flush=True)
os._exit(0)
"""
    for gets_records in (True, False):
        done = subprocess.run([sys.executable, "-c", program], env=settings_of_one, capture_output=True, text=True)
        assert done.stdout.strip() == str(gets_records), done.stderr


_PAGE = (REPOSITORY / "schemas" / "test.md").read_text(encoding="utf-8")
_SCRIPTS = re.findall(r"^```sh\n([^`]*passport-worker sandbox.*?)^```", _PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("shell", "script"), [*zip(("bash", "sh"), _SCRIPTS, strict=True)], ids=("bash", "sh"))
def test_lines_of_the_page_work(tmp_path: Path, folder: Path, shell: str, script: str) -> None:
    """What `schemas/test.md` says to put into a script of somebody's CI; nothing is left when that has ended."""
    theirs = f"pytest() {{ python {CLIENTS / 'confluent_kafka_client.py'}; }}"
    (tmp_path / "ci.sh").write_text(f"set -eu\n{theirs}\n{script}", encoding="utf-8")
    done = subprocess.run(
        [shell, "ci.sh"], cwd=tmp_path, env=_without_settings(folder), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert printed_results(done.stdout)[-1]["outcome"] == "eu.tracepass.passport.created.v1"


@pytest.mark.parametrize("stale", ["", "export KAFKA_BOOTSTRAP_SERVERS=stale:9092\n"], ids=("first run", "later run"))
@pytest.mark.parametrize(("shell", "script"), [*zip(("bash", "sh"), _SCRIPTS, strict=True)], ids=("bash", "sh"))
@pytest.mark.parametrize("options", ["", "set -eu\n"], ids=("plain", "strict"))
def test_lines_of_the_page_run_no_test_where_the_sandbox_does_not_start(
    tmp_path: Path, shell: str, script: str, stale: str, options: str
) -> None:
    """Seen to fail before: the tests ran against production's servers, or against those of an earlier run."""
    (tmp_path / "passport-worker").write_text("#!/bin/sh\nsleep 0.3; exit 1\n", encoding="utf-8")
    (tmp_path / "passport-worker").chmod(0o755)
    if stale:
        (tmp_path / "sandbox.env").write_text(stale, encoding="utf-8")
    (tmp_path / "ci.sh").write_text(f"{options}pytest() {{ echo called; }}\n{script}", encoding="utf-8")
    production = {
        "KAFKA_BOOTSTRAP_SERVERS": "prod:9092",
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "prod:9092",
        "PASSPORT_DATABASE_URL": "postgresql://prod/x",
    }
    environment = {**os.environ, **production, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, "ci.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode != 0
    assert "called" not in done.stdout


_TUTORIAL = (REPOSITORY / "schemas" / "first-passport.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("language", "name"), [("python", "first.py"), ("java", "First.java")])
def test_the_tutorial_creates_a_passport(
    settings_of_one: dict[str, str], tmp_path: Path, language: str, name: str
) -> None:
    """`schemas/first-passport.md`: its program as a reader saves it, with the arguments of its command line."""
    (tmp_path / name).write_text(_program(language), encoding="utf-8")
    topic, body = _play(settings_of_one, tmp_path / name, *_arguments(name))
    assert topic == "dpp.passport.created.v1"
    check_event("created", json.dumps(body).encode())


@pytest.mark.parametrize(("language", "name"), [("python", "first.py"), ("java", "First.java")])
def test_the_tutorials_programs_name_the_variable_that_a_new_terminal_lacks(
    tmp_path: Path, language: str, name: str
) -> None:
    """Seen to fail before: the one in Java ended with a NullPointerException that named nothing."""
    (tmp_path / name).write_text(_program(language), encoding="utf-8")
    lacking = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    command = [*command_of(name)[:-1], str(tmp_path / name), *_arguments(name)]
    done = subprocess.run(command, env=lacking, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1
    assert "KAFKA_BOOTSTRAP_SERVERS" in done.stderr


def test_the_tutorial_shows_what_a_fixed_key_does(settings_of_one: dict[str, str], tmp_path: Path) -> None:
    """Its last two steps: the same passport again, then 422 for another serial number.

    Seen to fail before: the program took the first answer under its key, and printed `created` for the third command.
    """
    before, after = _program("python").split("str(uuid.uuid4())")
    (tmp_path / "first.py").write_text(f'{before}"fixed"{after}', encoding="utf-8")
    *card, _ = _arguments("first.py")
    serials = ("fixed-1", "fixed-1", "fixed-2")
    created, again, refused = (_play(settings_of_one, tmp_path / "first.py", *card, serial) for serial in serials)
    assert created == again
    assert created[0] == "dpp.passport.created.v1"
    assert (refused[0], refused[1]["status"]) == ("dpp.passport.rejected.v1", 422)


def _program(language: str) -> str:
    """The program of the tutorial in that language."""
    (program,) = re.findall(rf"^```{language}\n(.*?)^```", _TUTORIAL, re.DOTALL | re.MULTILINE)
    return str(program)


def _arguments(name: str) -> list[str]:
    """The arguments of the tutorial's first command line: API key, product, GTIN, serial number."""
    (arguments, *_) = re.findall(rf"{name} (tp_\S+ \w+ \d+ BP\S+)$", _TUTORIAL, re.MULTILINE)
    return str(arguments).split()


def _play(environment: dict[str, str], program: Path, *arguments: str) -> tuple[str, dict[str, object]]:
    """Topic and body of the answer that a program of the tutorial prints."""
    command = [*command_of(program.name)[:-1], str(program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    topic, _, body = done.stdout.partition(" ")
    return topic, json.loads(body)


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGTERM,
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.repeat),
        pytest.param(signal.SIGHUP, marks=pytest.mark.repeat),
    ],
)
def test_nothing_is_left_when_it_is_ended(start_sandbox: StartSandbox, how: signal.Signals) -> None:
    """A clean exit upon each signal; nothing outlives even what it cannot see coming. The folder is looked at, too."""
    sandbox = start_sandbox()
    sandbox.settings()
    family = descendants(sandbox.process.pid)
    assert len(family) > 5
    sandbox.process.send_signal(how)
    assert sandbox.process.wait(SECONDS) == (-how if how is signal.SIGKILL else 0), sandbox.told
    _wait(lambda: not family & parents().keys(), lambda: family & parents().keys())


def test_nothing_is_left_when_its_second_process_is_killed(start_sandbox: StartSandbox) -> None:
    """Where the kernel runs out of memory it may choose that one; the exit code then tells of it."""
    sandbox = start_sandbox()
    sandbox.settings()
    family = descendants(sandbox.process.pid)
    (second,) = (pid for pid, parent in parents().items() if parent == sandbox.process.pid)
    os.kill(second, signal.SIGKILL)
    assert sandbox.process.wait(SECONDS) == 1
    _wait(lambda: not family & parents().keys(), lambda: family & parents().keys())


@pytest.mark.parametrize("step", ["starting PostgreSQL", "starting the worker"])
def test_it_can_be_ended_while_it_starts(start_sandbox: StartSandbox, step: str) -> None:
    """No settings are printed then, and nothing is left."""
    sandbox = start_sandbox()
    sandbox.wait_until_told(step)
    family = descendants(sandbox.process.pid)
    sandbox.process.terminate()
    printed, _ = sandbox.process.communicate(timeout=SECONDS)
    assert (printed, sandbox.process.returncode) == ("", 0)
    assert not family & parents().keys()


def test_it_ends_with_its_parent(folder: Path, tmp_path: Path) -> None:
    """A program that started it and is killed; its sandbox has no terminal and no signal to learn that from."""
    program = f"""
import subprocess, sys, time
sandbox = subprocess.Popen(["passport-worker", "sandbox"], stdout=subprocess.PIPE, start_new_session=True)
sandbox.stdout.read()
print(sandbox.pid, flush=True)
time.sleep({SECONDS})
"""
    environment = _without_settings(folder)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        family = {pid := int(parent.stdout.readline()), *descendants(pid)}
        assert len(family) > 5
        parent.kill()
    _wait(lambda: not family & parents().keys(), lambda: family & parents().keys())


def test_it_ends_with_a_parent_that_has_ended_before_it_was_ready(folder: Path, tmp_path: Path) -> None:
    """While it reads a catalogue, here from a pipe; nobody would end it any more."""
    catalogue = tmp_path / "catalogue.json"
    os.mkfifo(catalogue)
    program = f"""
import subprocess, sys, time
command = ["passport-worker", "sandbox", "--catalogue", {str(catalogue)!r}]
print(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True).pid, flush=True)
time.sleep({SECONDS})
"""
    writing: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):  # until somebody reads
            writing.append(os.open(catalogue, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writing)

    environment = _without_settings(folder)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        _wait(is_read, lambda: "it does not read")
        parent.kill()
    os.write(writing[0], b"{}")
    os.close(writing[0])
    _wait(lambda: pid not in parents(), parents)


def test_a_server_that_ends_by_itself_ends_it(start_sandbox: StartSandbox) -> None:
    """Tests would wait for answers in vain; it says whose end it was."""
    sandbox = start_sandbox()
    settings = sandbox.settings()
    listed = subprocess.run(["ps", "-ewwo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    port = settings["PASSPORT_KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2]
    (broker,) = re.findall(rf"^ *(\d+) .*noida-db start .*--kafka-port {port}\b", listed, re.MULTILINE)
    os.kill(int(broker), signal.SIGKILL)
    assert sandbox.process.wait(SECONDS) == 1
    assert "broker ended with exit code -9" in sandbox.told


def test_a_catalogue_of_ones_own_takes_the_place_of_the_sample(start_sandbox: StartSandbox, tmp_path: Path) -> None:
    """Its keys and products are known, by the append time of the broker; no key of the sample is told."""
    one = tenant(1)
    ids = {"_id": one.product_id, "companyId": one.company_id, "templateId": one.product_id}
    catalogue = {
        "plans": [{"id": "p", "maxDpps": None, "overagePriceCents": None, "maxV1WritesPerDay": None}],
        "companies": [
            {"_id": one.company_id, "name": "C", "plan": "p", "subscription": None, "apiKeys": [{"key": one.api_key}]}
        ],
        "templates": [{"_id": one.product_id, "category": "battery", "version": 1, "fields": []}],
        "products": [{**ids, "name": "n", "model": "m"}],
    }
    (tmp_path / "catalogue.json").write_text(json.dumps(catalogue), encoding="utf-8")
    settings = start_sandbox("--catalogue", str(tmp_path / "catalogue.json")).settings()
    assert "PASSPORT_API_KEY" not in settings
    kind, body = _answer(settings, one.api_key, one.product_id)
    assert kind == "eu.tracepass.passport.created.v1"
    assert not str(body["createdAt"]).startswith("1970")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, 2, "No such file"),
        ("plans: [{id: p}]", 1, "plans[0].maxDpps: Required"),
        (
            '{"companies": [{"_id": "' + 24 * "a" + '", "name": "C", "plan": "none", "subscription": null}]}',
            1,
            "companies[0].plan: Expected a plan in file or database, got none",
        ),
    ],
    ids=["missing", "wrong", "refers to nothing"],
)
def test_a_bad_catalogue_is_refused(
    start_sandbox: StartSandbox, tmp_path: Path, text: str | None, code: int, said: str
) -> None:
    """By path and expectation; no settings are printed, and nothing is left."""
    path = tmp_path / "catalogue.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    sandbox = start_sandbox("--catalogue", str(path))
    printed, _ = sandbox.process.communicate(timeout=SECONDS)
    assert (printed, sandbox.process.returncode) == ("", code), sandbox.told
    assert said in sandbox.told
    assert str(path) in sandbox.told


def test_servers_of_the_environment_are_left_alone_and_names_are_taken(start_sandbox: StartSandbox) -> None:
    """A CI may have those of production; two sandboxes run side by side, one with what the other printed."""
    sandbox = start_sandbox(
        PASSPORT_DATABASE_URL="postgresql://nobody@192.0.2.1/production",
        PASSPORT_KAFKA_BOOTSTRAP_SERVERS="192.0.2.1:9092",
        PASSPORT_KAFKA_SECURITY_PROTOCOL="SSL",
        PASSPORT_HTTP_PORT="1",
        PASSPORT_OAUTH_JWKS="https://192.0.2.1/jwks.json",
        PGSSLMODE="verify-full",
        OTEL_TRACES_EXPORTER="none of ours",
        PASSPORT_TOPIC_REJECTED="refusals",
    )
    first = sandbox.settings()
    assert re.search(
        r"PASSPORT_DATABASE_URL, .*: ignored, since the sandbox starts its own servers\.$", sandbox.told, re.M
    )
    assert first["PASSPORT_TOPIC_REJECTED"] == "refusals"
    second = start_sandbox(**first).settings()
    assert {"127.0.0.1"} == {one["PASSPORT_KAFKA_BOOTSTRAP_SERVERS"].partition(":")[0] for one in (first, second)}
    assert first["PASSPORT_KAFKA_BOOTSTRAP_SERVERS"] != second["PASSPORT_KAFKA_BOOTSTRAP_SERVERS"]
    for settings in (first, second):
        kind, body = _answer(settings, "tp_guessed", "6650a1b2c3d4e5f6a7b8c9d0")
        assert (kind, body["status"]) == ("eu.tracepass.passport.rejected.v1", 401)
