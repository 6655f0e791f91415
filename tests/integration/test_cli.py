"""The command line: exit codes, messages, and safe repetition."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workbench import REPOSITORY, Workbench, tenant, until
from tests.workbench import run_command as _run
from worker.tools.demo.embedded import free_port


def test_help_names_every_command_and_where_settings_are_listed() -> None:
    """`--help` is enough to operate the worker."""
    done = _run("--help")
    assert done.returncode == 0
    for word in ("run", "migrate", "topics", "catalogue", "validate", "demo", "passport-worker settings"):
        assert word in done.stdout


@pytest.mark.parametrize("command", [(), ("run",), ("topics", "create"), ("catalogue", "load"), ("settings",)])
def test_help_of_a_command_tells_its_own_options(command: tuple[str, ...]) -> None:
    """Seen to fail before: each listed all settings, with no word on any of them."""
    done = _run(*command, "--help")
    assert (done.returncode, "PASSPORT_GROUP_ID" in done.stdout) == (0, False)


def test_a_mistyped_setting_is_warned_of(bench: Workbench) -> None:
    """With the nearest that there is: in a line of its own, and on `run` in one of the log."""
    mistyped = {**bench.environment, "PASSPORT_TOPIC_COMANDS": "x", "PASSPORT_TOPIC_COMMANDS": "nobody.made.this"}
    warning = "PASSPORT_TOPIC_COMANDS is not a setting; did you mean PASSPORT_TOPIC_COMMANDS?"
    done = _run("migrate", **mistyped)
    assert (done.returncode, done.stderr) == (0, f"passport-worker: warning: {warning}\n")
    first = json.loads(_run("run", **mistyped).stderr.splitlines()[0])
    told = [first[name] for name in ("level", "event", "variable", "nearest")]
    assert told == ["warning", "unknown_setting", "PASSPORT_TOPIC_COMANDS", "PASSPORT_TOPIC_COMMANDS"]


@pytest.mark.parametrize(
    "arguments", [("nosuch",), ("run", "--nosuch"), ("catalogue", "load"), ("validate",), ("demo", "--commands", "x")]
)
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    """A typing mistake is told apart from a failure."""
    done = _run(*arguments)
    assert done.returncode == 2, done
    assert "passport-worker" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("topics",), ("catalogue",)])
def test_a_missing_command_shows_the_help_and_exits_with_2(arguments: tuple[str, ...]) -> None:
    """A script that forgot half of the command does not go on as if all was well."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert "Usage: passport-worker" in done.stdout


@pytest.mark.parametrize("command", [("run",), ("migrate",), ("topics", "create")])
def test_all_bad_settings_are_named_at_once_and_no_value_is_shown(command: tuple[str, ...]) -> None:
    """One run tells everything that is to be mended, and a mistyped URL does not put its password into a log."""
    done = _run(
        *command,
        PASSPORT_DATABASE_URL="mysql://user:hunter2@host/db",
        PASSPORT_HTTP_PORT="99999",
        PASSPORT_TOPIC_PARTITIONS="none",
        PASSPORT_KAFKA_SECURITY_PROTOCOL="TLS",
    )
    assert done.returncode == 2
    for name in ("DATABASE_URL", "HTTP_PORT", "TOPIC_PARTITIONS", "KAFKA_SECURITY_PROTOCOL"):
        assert f"PASSPORT_{name}:" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [("run",), ("migrate",), ("topics", "create"), ("catalogue", "load", "x.yaml"), ("demo", "--use-environment")],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@:badport/x", "postgresql://u:12/hunter2@h/x", "postgresql://u:a@hunter2@h/x"]
)
def test_no_part_of_a_password_is_shown(command: tuple[str, ...], url: str) -> None:
    """A URL that cannot be used ends every command at once, with what is wrong; see `tests/unit/test_address.py`."""
    done = _run(*command, PASSPORT_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "PASSPORT_DATABASE_URL: expected postgresql://user:password@host:port/database" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("user", ["u:hunter2", "u:%2Fhunter2%23", "hunter2:x"])
def test_no_part_of_a_password_is_shown_by_what_fails_later(user: str) -> None:
    """A server that is away, or a host that nobody knows."""
    for host in (f"127.0.0.1:{free_port()}", "no-such-host.invalid"):
        done = _run("migrate", PASSPORT_DATABASE_URL=f"postgresql://{user}@{host}/x")
        assert done.returncode == 1
        assert "Postgres cannot be reached at" in done.stderr
        assert "hunter2" not in done.stderr + done.stdout


def test_settings_that_do_not_go_together_are_told_with_the_others() -> None:
    """Repairing one setting at a time, only to hear of the next, is no way to deploy."""
    done = _run(
        "run",
        PASSPORT_OAUTH_JWKS="/etc/jwks.json",
        PASSPORT_KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        PASSPORT_KAFKA_SASL_USERNAME="user",
        PASSPORT_KAFKA_SSL_CAFILE="/nowhere/ca.pem",
        PASSPORT_TOPIC_CREATED="one",
        PASSPORT_TOPIC_CONFLICT="one",
        PASSPORT_GROUP_ID="my group",
        PASSPORT_HTTP_PORT="x",
    )
    assert done.returncode == 2
    named = sorted(line.split(":")[0].strip() for line in done.stderr.splitlines()[1:])
    assert named == [
        "PASSPORT_HTTP_PORT",
        "PASSPORT_KAFKA_SASL_PASSWORD",
        "PASSPORT_KAFKA_SSL_CAFILE",
        "PASSPORT_OAUTH_AUDIENCE",
        "PASSPORT_OAUTH_ISSUER",
        "PASSPORT_TOPIC_CONFLICT",
        "PASSPORT_TOPIC_CREATED",
        "PASSPORT_TOPIC_DEAD_LETTERS",
    ]


def test_run_refuses_an_empty_database(bench: Workbench, tmp_path: Path) -> None:
    """It says what to do, and exits with 1."""
    url = bench.settings.database_url.rpartition("/")[0] + "/postgres"
    done = _run("run", **{**bench.environment, "PASSPORT_DATABASE_URL": url})
    assert done.returncode == 1
    assert "passport-worker migrate" in done.stderr


@pytest.mark.parametrize("topic", ["COMMANDS", "CREATED"])
def test_run_refuses_missing_topics(bench: Workbench, topic: str) -> None:
    """It names them, and says how to make them."""
    done = _run("run", **{**bench.environment, f"PASSPORT_TOPIC_{topic}": "nobody.made.this"})
    assert done.returncode == 1
    assert "missing topics: nobody.made.this" in done.stderr
    assert "topics create" in done.stderr


def test_run_refuses_python_without_asserts() -> None:
    """`python -O` would turn fatal states of aiokafka into silence."""
    done = subprocess.run(
        [sys.executable, "-O", "-m", "worker", "run"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "-O" in done.stderr


def test_topics_create_names_a_kafka_that_is_away_once() -> None:
    """Address, reason and setting in one line. Seen to fail before: the library's line came first."""
    address = f"127.0.0.1:{free_port()}"
    done = _run("topics", "create", PASSPORT_KAFKA_BOOTSTRAP_SERVERS=address)
    advice = "Start it, or correct PASSPORT_KAFKA_BOOTSTRAP_SERVERS."
    said = f"passport-worker: Kafka cannot be reached at {address}: connection refused. {advice}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("command", [("topics", "create"), ("run",)])
def test_certificates_that_cannot_be_read_are_told(bench: Workbench, command: tuple[str, ...]) -> None:
    """Waiting does not mend them. Seen to fail without the look at `OSError`: `run` waited for ever."""
    wrong = {"PASSPORT_KAFKA_SECURITY_PROTOCOL": "SSL", "PASSPORT_KAFKA_SSL_CAFILE": __file__}
    done = _run(*command, **{**bench.environment, **wrong})
    assert done.returncode == 1
    assert "the files of PASSPORT_KAFKA_SSL_* cannot be read: SSLError" in done.stderr.splitlines()[-1]


def test_commands_are_safe_to_repeat(bench: Workbench) -> None:
    """Migrating, making topics and loading a catalogue twice changes nothing and says so."""
    catalogue = str(REPOSITORY / "deploy" / "catalogue.example.yaml")
    for _ in range(2):
        assert "up to date" in _run("migrate", **bench.environment).stdout
        assert "as expected" in _run("topics", "create", **bench.environment).stdout
        assert _run("catalogue", "load", catalogue, **bench.environment).returncode == 0


def test_drift_of_a_topic_is_reported_and_left_alone(bench: Workbench) -> None:
    """`topics create` never changes what exists."""
    done = _run("topics", "create", **{**bench.environment, "PASSPORT_TOPIC_PARTITIONS": "7"})
    assert done.returncode == 0
    assert f"differs {bench.settings.topic_commands}: has 2 partitions, expected 7" in done.stdout


def test_a_check_of_topics_changes_nothing_and_exits_with_1_on_drift(bench: Workbench) -> None:
    """For a pipeline that looks before it rolls out: 0 when all is as it should be, else every line says what to do."""
    good = _run("topics", "create", "--check", **bench.environment)
    assert (good.returncode, good.stdout) == (0, "all topics exist, as expected\n")
    other = {**bench.environment, "PASSPORT_TOPIC_PARTITIONS": "7", "PASSPORT_TOPIC_CREATED": "nobody.made.this"}
    for _ in range(2):
        done = _run("topics", "create", "--check", **other)
        assert (done.returncode, done.stderr) == (1, "")
        lines = done.stdout.splitlines()
        assert lines[0] == "missing nobody.made.this"
        assert lines[1].startswith(f"differs {bench.settings.topic_commands}: has 2 partitions, expected 7. ")
        assert len(lines) == 6


def test_a_bad_catalogue_names_every_error(bench: Workbench, tmp_path: Path) -> None:
    """Nothing of it is loaded, and each error comes with its path."""
    file = tmp_path / "bad.yaml"
    file.write_text("plans: [{id: x, maxDpps: -1}]\ncompanies: [{_id: nope, name: '', plan: x, subscription: 1}]\n")
    done = _run("catalogue", "load", str(file), **bench.environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"passport-worker: {file} cannot be loaded:\n")
    for path in ("plans[0].maxDpps", "companies[0]._id", "companies[0].subscription"):
        assert path in done.stderr, done.stderr


def test_what_is_of_no_use_in_a_catalogue_is_loaded_and_warned_of(bench: Workbench, tmp_path: Path) -> None:
    """On stderr, with the path; a template may be in the database already. Seen to fail before: not a word."""
    file = tmp_path / "catalogue.yaml"
    file.write_text(
        "plans: [{id: p, maxDpps: 1, overagePriceCents: null, maxV1WritesPerDay: null}]\n"
        f"companies: [{{_id: {'c' * 24}, name: n, plan: p, subscription: aktive}}]\n"
        f"products: [{{_id: {'d' * 24}, companyId: {'c' * 24}, templateId: '{tenant(0).product_id}', name: n, "
        "model: m, defaultFieldValues: {color: red, mass: heavy}}]\n"
    )
    done = _run("catalogue", "load", str(file), **bench.environment)
    assert (done.returncode, done.stdout) == (
        0,
        "loaded 1 plans, 1 companies, 0 api keys, 0 signing keys, 0 templates, 1 products\n",
    )
    subscription, *defaults = done.stderr.splitlines()
    assert subscription.startswith("passport-worker: warning: companies[0].subscription: Expected one of active, ")
    assert subscription.endswith(', or null, got "aktive"; did you mean active?')
    path = "passport-worker: warning: products[0].defaultFieldValues"
    assert defaults == [
        f"{path}.color: Expected a field of the product's template; did you mean colour?",
        f"{path}.mass: Expected a value of type number, got string",
    ]


_GOOD = '{"productId":"6650a1b2c3d4e5f6a7b8c9d0","gs1":{"gtin":"04012345000016","serialNumber":"1"}}\n'


def test_validate_needs_no_servers_and_exits_by_what_it_found(tmp_path: Path) -> None:
    """0 if all is good; 1 if a line is bad, each with its number and path, and a summary at the end."""
    file = tmp_path / "commands.ndjson"
    file.write_text(_GOOD * 2)
    good = _run("validate", str(file))
    assert (good.returncode, len(good.stdout.splitlines())) == (0, 1)
    bad = _run("validate", "-", stdin=_GOOD + _GOOD.replace("04", "4") + '{"productId":\n' + _GOOD)
    assert bad.returncode == 1
    lines = bad.stdout.splitlines()
    assert lines[0] == "line 2: gs1.gtin: GTIN must be 14 digits"
    assert lines[1].startswith("line 3: unreadable (not-json): Expected JSON")
    assert lines[2].startswith("4 commands: 2 good, 2 bad.")
    assert (len(lines), bad.stderr) == (3, "")


@pytest.mark.parametrize("stdin", ["", "\n \n"])
def test_validate_of_nothing_is_good_with_a_warning(stdin: str) -> None:
    """A pipe that went wrong must not look like a file that is right. Seen to fail before: no word of it."""
    done = _run("validate", "-", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "passport-worker: warning: found no commands in -\n")
    assert done.stdout.startswith("0 commands: 0 good, 0 bad.")


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_demo_of_nothing_is_bad_usage(number: str) -> None:
    """Seen to fail before: it ended with 1."""
    done = _run("demo", "--commands", number)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"passport-worker: --commands: expected a number of at least 1, got {number}\n"


def test_a_warning_of_validate_is_no_failure() -> None:
    """It is marked as what it is."""
    done = _run("validate", "-", stdin=_GOOD.replace("}}", '},"partys":{}}'))
    assert done.returncode == 0
    assert done.stdout.startswith("line 1: warning: partys: unknown field, which is ignored; did you mean parties?\n")


def test_validate_goes_by_the_limits_of_the_settings() -> None:
    """A deployment with other limits says what it would say."""
    done = _run("validate", "-", stdin=_GOOD, PASSPORT_LIMIT_VALUE_BYTES="50")
    assert done.returncode == 1
    assert "at most 50 bytes" in done.stdout


@pytest.mark.parametrize("command", [("validate",), ("catalogue", "load")], ids=" ".join)
@pytest.mark.parametrize(("name", "reason"), [("nosuch.json", "No such file or directory"), (".", "Is a directory")])
def test_what_cannot_be_read_is_bad_usage(tmp_path: Path, command: tuple[str, ...], name: str, reason: str) -> None:
    """A missing file is not a bad one. Seen to fail before: `catalogue load` ended with 1."""
    done = _run(*command, str(tmp_path / name))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"passport-worker: cannot read {tmp_path / name}: {reason}\n"


def test_a_broken_catalogue_is_bad_usage(tmp_path: Path) -> None:
    """With file, line and column; no database is needed to say so."""
    file = tmp_path / "broken.yaml"
    file.write_text("plans: []\ncompanies: [\n")
    done = _run("catalogue", "load", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith(f"passport-worker: {file}: Expected YAML, got something else at line 3, column 1 (")


def test_validate_ends_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    """`validate FILE | head -1` shows one line and no traceback; and it says in ASCII what a terminal cannot show."""
    file = tmp_path / "bad.ndjson"
    file.write_text('{"gs1":{},"parties":{"\u00fc":{}}}\n' * 50_000, encoding="utf-8")
    command = [sys.executable, "-m", "worker", "validate", str(file)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = [process.stdout.readline() for _ in range(4)]
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""
    assert first[3].startswith(r"line 1: parties.\xfc: Expected one of the roles")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
async def test_a_clean_stop_exits_with_0(bench: Workbench, tmp_path: Path, how: str) -> None:
    """Also while it still waits for servers that are away."""
    log = tmp_path / "worker.log"
    worker = bench.start_worker(log, PASSPORT_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    await until(lambda: log.exists() and "waiting_for_servers" in log.read_text(), 30, "it waits")
    worker.send_signal(getattr(signal, how))
    assert await asyncio.to_thread(worker.wait, 10) == 0


@pytest.mark.parametrize("after_seconds", [0.0, 0.25, 0.6])
async def test_a_stop_while_it_still_loads_is_clean(bench: Workbench, tmp_path: Path, after_seconds: float) -> None:
    """An orchestrator that changes its mind at once sees no failure, from when Python has begun with the worker."""
    worker = bench.load_worker(tmp_path / "worker.log")
    await until(lambda: _catches(worker.pid, signal.SIGTERM), 30, "Python has started")
    await asyncio.sleep(after_seconds)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


@pytest.mark.parametrize(("command", "number"), [("lanes", "SIGINT"), ("run", "SIGTERM"), ("run", "SIGINT")])
def test_a_signal_while_modules_load_shows_no_traceback(command: str, number: str) -> None:
    """Seen to fail: whoever changed their mind at once got thirty lines of Python.

    And seen to fail where it came while Python made a class: `__set_name__` turns SystemExit into a RuntimeError.
    """
    program = f"""
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "worker.tools.cli.main":
            class Model:
                field = self

    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.{number})

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes from programs in its background
sys.meta_path.insert(0, Interrupts())
sys.argv = ["passport-worker", "{command}"]
from worker.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal (proc(5), SigCgt)."""
    caught = re.search(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
