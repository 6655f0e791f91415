"""The programs of `schemas/clients/`, as they stand, against a real worker on a real Kafka: what people copy works."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.kafka import KafkaMissing, LocalKafka, kafka_jars
from tests.infrastructure.tools import tool
from tests.schema_checks import check_event
from tests.workbench import REPOSITORY, Workbench, make_workbench, run_command
from worker.tools.common.signer import Signer

pytestmark = pytest.mark.real_kafka

EUROBAT = "6650a0b1c2d3e4f5a6b7c8d9"
RESULT = re.compile(r"(?P<key>\S+) (?P<outcome>eu\.tracepass\.passport\.\S+) (?P<body>\{.*)")


CLIENTS = REPOSITORY / "schemas" / "clients"
PROGRAMS = sorted(path.name for path in CLIENTS.iterdir() if path.suffix in (".py", ".java"))
SIGNING = [name for name in PROGRAMS if name.lower().startswith("signed")]
BEARING = [name for name in PROGRAMS if name not in SIGNING]


def _java_seldom(name: str, *values: str) -> Any:
    """The parameters of a test. Each start of a Java program compiles it, which takes five seconds of CPU."""
    return pytest.param(name, *values, marks=[pytest.mark.repeat] if name.endswith(".java") else [])


JAVA_SELDOM = [_java_seldom(name) for name in BEARING]
SIGNED = [*((name, "EdDSA") for name in SIGNING), *(_java_seldom(name, "ES256") for name in SIGNING)]


@pytest.fixture(scope="module")
async def answering(servers: Infrastructure, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workbench]:
    """A worker with the catalogue of `deploy/` that the programs' defaults belong to, on topics of its own.

    Another process of the same run has such a worker, too. On the same topics each would halt its lanes, since there
    are results that its own database does not know.
    """
    async with fresh_database(servers.database_url) as url:
        bench = await make_workbench(servers.bootstrap_servers, url, f"clients-{uuid4().hex[:6]}", 6)
        load = [sys.executable, "-m", "worker", "catalogue", "load", "deploy/catalogue.example.yaml"]
        await asyncio.to_thread(
            subprocess.run, load, cwd=REPOSITORY, env={**os.environ, **bench.environment}, check=True
        )
        bench.start_worker(tmp_path_factory.mktemp("clients") / "worker.log")
        yield bench
        await asyncio.to_thread(bench.kill_workers)


def command_of(name: str) -> list[str]:
    """How a program is run; skips the test where what runs it is missing."""
    if name.endswith(".py"):
        return [sys.executable, str(CLIENTS / name)]
    tool("javac")
    try:
        jars = kafka_jars()
    except KafkaMissing as missing:
        pytest.skip(f"needs Kafka's jars: {missing}")
    return [tool("java"), *LocalKafka.jvm_options, "-cp", f"{jars}/*", str(CLIENTS / name)]


async def _run(
    bench: Workbench, name: str, directory: Path, *arguments: str, **environment: str
) -> list[re.Match[str]]:
    """The results that the program printed; fails with what it said if it did not end well."""
    servers = bench.settings.kafka_bootstrap_servers
    done = await asyncio.to_thread(
        subprocess.run,
        [*command_of(name), *arguments],
        cwd=directory,
        env={**os.environ, **bench.environment, "KAFKA_BOOTSTRAP_SERVERS": servers, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{bench.log_tail()}"
    return printed_results(done.stdout)


def printed_results(stdout: str) -> list[re.Match[str]]:
    """Key, outcome and body of each result that a program printed."""
    return [match for line in stdout.splitlines() if (match := RESULT.fullmatch(line))]


def test_the_page_links_to_every_program() -> None:
    """And there are two in Python and one in Java, and one of each that signs."""
    page = (REPOSITORY / "schemas" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(clients/([^)]+)\)", page)) == sorted([*PROGRAMS, "pom.xml"])
    assert sorted(name.rpartition(".")[2] for name in PROGRAMS) == ["java", "java", "py", "py", "py"]
    assert sorted(name.rpartition(".")[2] for name in SIGNING) == ["java", "py"]


def test_the_maven_coordinates_are_the_same_everywhere() -> None:
    """In the programs, on the pages, and in the pom that fetches them; README names that Kafka as tested."""
    pom = (CLIENTS / "pom.xml").read_text(encoding="utf-8")
    (version,) = re.findall(r"<artifactId>kafka-clients</artifactId>\s*<version>(\S+)</version>", pom)
    pages = (CLIENTS.parent / "README.md", *CLIENTS.glob("*.java"))
    for page in pages:
        assert f"org.apache.kafka:kafka-clients:{version}" in page.read_text(encoding="utf-8"), page.name
    assert f"Kafka {version} and" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", JAVA_SELDOM)
async def test_a_program_publishes_a_command_and_prints_its_result(
    answering: Workbench, tmp_path: Path, name: str
) -> None:
    """One line, the answer to its own command: created, under its key, with a body as the schema says.

    Seen to fail before: whoever ran it again, or after others, first saw the answers to all earlier commands.
    """
    serial = await _check_printed(answering, await _run(answering, name, tmp_path))
    assert await _check_printed(answering, await _run(answering, name, tmp_path)) != serial


@pytest.mark.parametrize("name", BEARING)
async def test_a_program_that_starts_again_gets_its_passport(answering: Workbench, tmp_path: Path, name: str) -> None:
    """With the serial number as its argument, as after a crash between command and answer.

    Seen to fail before: a program made a new key for each attempt, and got a conflict in place of its passport.
    """
    serial = f"unit-{uuid4().hex[:8]}"
    first, again = [await _run(answering, name, tmp_path, serial) for _ in range(2)]
    assert await _check_printed(answering, first) == await _check_printed(answering, again) == serial
    assert first[0]["body"] == again[0]["body"]


@pytest.mark.parametrize(("name", "algorithm"), SIGNED)
async def test_a_program_signs_its_command(answering: Workbench, tmp_path: Path, name: str, algorithm: str) -> None:
    """With a key of `keys generate`, whose line the catalogue has; its company takes no API key any more."""
    file = tmp_path / "mes-1.pem"
    made = await asyncio.to_thread(run_command, "keys", "generate", str(file), "--algorithm", algorithm)
    line = json.loads(made.stdout)
    company: dict[str, object] = {"_id": EUROBAT, "name": "EuroBat", "plan": "demo-growth", "subscription": "active"}
    moved = {**company, "signingKeys": [line], "signaturesRequiredFrom": "2026-01-01T00:00:00Z"}
    await _load(answering, tmp_path, moved)
    try:
        key = {"PASSPORT_SIGNING_KEY": str(file), "PASSPORT_SIGNING_KID": line["jwk"]["kid"]}
        printed = await _run(answering, name, tmp_path, **key, PASSPORT_SIGNING_ALG=algorithm)
    finally:
        await _load(answering, tmp_path, {**company, "signaturesRequiredFrom": None})
    await _check_printed(answering, printed)
    commands = await asyncio.to_thread(answering.read, [answering.settings.topic_commands])
    (command,) = [one for one in commands if one.header("idempotency-key") == printed[-1]["key"]]
    sent = (command.header("jws-signature") or "").encode()
    assert dict(command.headers).keys() == {"jws-signature", "idempotency-key"}
    head, _, _ = sent.rpartition(b".")
    told = json.loads(base64.urlsafe_b64decode(head.partition(b".")[2] + b"=="))
    ours = Signer.from_pem(file.read_bytes(), answering.settings.topic_commands).sign(told)
    assert (ours == sent) if algorithm == "EdDSA" else ours.startswith(head + b"."), "the same bytes as ours"


async def _load(bench: Workbench, directory: Path, company: dict[str, object]) -> None:
    file = directory / "catalogue.json"
    file.write_text(json.dumps({"companies": [company]}))
    loaded = await asyncio.to_thread(run_command, "catalogue", "load", str(file), **bench.environment)
    assert loaded.returncode == 0, loaded


async def _check_printed(answering: Workbench, printed: list[re.Match[str]]) -> str:
    """Check that the result is a passport under a key made from its unit. Returns its serial number."""
    [last] = printed
    assert last["outcome"] == "eu.tracepass.passport.created.v1"
    check_event("created", last["body"].encode())
    gs1 = json.loads(last["body"])["gs1"]
    assert last["key"] == f"{gs1['gtin']}-{gs1['serialNumber']}"
    assert last["key"] in {(one.key or b"").decode() for one in await asyncio.to_thread(answering.results)}
    return str(gs1["serialNumber"])


@pytest.mark.parametrize("name", [_java_seldom(name) for name in PROGRAMS])
def test_a_program_names_servers_that_are_away(tmp_path: Path, name: str) -> None:
    """And ends, with an exit status.

    Seen to fail before: the one of confluent-kafka waited for ever, and Ctrl-C did not end it. Those in Java waited for
    a minute, and then `java` said "0 > -7": it fails at errors of Kafka, since they have no stack trace.
    """
    key = tmp_path / "mes-1.pem"
    assert run_command("keys", "generate", str(key)).returncode == 0
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PASSPORT_SIGNING_KEY": str(key), "PASSPORT_SIGNING_KID": "k"}
    done = subprocess.run(
        command_of(name), env={**os.environ, **away}, capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 1
    assert re.search(r"127\.0\.0\.1\W+1\b", done.stderr.splitlines()[-1] if "java" in name else done.stderr)


@pytest.mark.parametrize("name", [name for name in SIGNING if name.endswith(".java")])
def test_a_setting_that_is_missing_is_named(name: str) -> None:
    """Seen to fail before: a NullPointerException without a word, and without the id it signed for the key `null`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PASSPORT_")}
    for missing, given in (("KEY", {}), ("KID", {"PASSPORT_SIGNING_KEY": "mes-1.pem"})):
        done = subprocess.run(
            command_of(name), env={**environment, **given}, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, f"PASSPORT_SIGNING_{missing}" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_careful(name: str) -> None:
    """Idempotent, acknowledged by all, and blind to aborted transactions: what the page asks for, it shows."""
    program = (CLIENTS / name).read_text(encoding="utf-8")
    assert re.search(r"\"?acks\"?[=:,] ?\"all\"", program)
    assert re.search(r"enable[_.]idempotence\"?[=:,] ?[Tt]rue", program)
    assert re.search(r"isolation[_.]level\"?[=:,] ?\"read_committed\"", program)
