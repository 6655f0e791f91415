"""`submit` through a real broker and a real worker: one answer a row, in order, whatever ends it in between."""

import asyncio
import json
import random
import resource
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.integration.guards_helpers import publish_raw
from tests.integration.submitting import (
    answers,
    answers_of,
    key_of,
    ndjson_answers,
    outcomes,
    peak_bytes,
    sheet,
    start,
    submit,
)
from tests.invariants import check_invariants
from tests.workbench import REPOSITORY, Workbench, add_tenant, gtin, run_command, tenant
from worker.tools.submit.drawing import TIMES

pytestmark = pytest.mark.real_kafka


@pytest.fixture
async def answering(bench: Workbench, tmp_path: Path) -> AsyncIterator[Workbench]:
    """A bench with a worker; at the end all invariants hold."""
    worker = bench.start_worker(tmp_path / "worker.log")
    yield bench
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    await check_invariants(bench)


async def _passports(bench: Workbench) -> int:
    connection = await bench.connect()
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM passport")
    finally:
        await connection.close()
    return count


async def _submit(bench: Workbench, file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(submit, bench, file, *options, **environment)


async def _commands(bench: Workbench) -> int:
    return len(await asyncio.to_thread(bench.read, [bench.settings.topic_commands]))


async def _until_sent(bench: Workbench, count: int) -> None:
    deadline = time.monotonic() + 30
    while await _commands(bench) < count:
        assert time.monotonic() < deadline, f"fewer than {count} commands"


def _until_answered(process: subprocess.Popen[str], file: Path, size: int, log: Path) -> None:
    """Until the answers file has this size, or all rows have their answer."""
    deadline = time.monotonic() + 60
    while process.poll() is None and len(answers_of(file)) < size:
        assert time.monotonic() < deadline, f"no answers came: {log.read_text()}"
        time.sleep(0.02)
    assert process.poll() in (None, 0), log.read_text()


async def test_a_spreadsheet_gets_one_answer_a_row(answering: Workbench, tmp_path: Path) -> None:
    """Beside its own cells; the same command again asks nothing, and says the same."""
    one, file = tenant(0), tmp_path / "Stück.csv"
    rows = (
        f'{one.product_id};{gtin(1)};"Größe ""1""; a"', f"{one.product_id};{gtin(1)};U2",
        f"{one.product_id};{gtin(1)};U2", f"{'f' * 24};{gtin(1)};U3", f"{one.product_id.upper()};{gtin(1)};U2",
    )  # fmt: skip
    file.write_text("productId;gs1.gtin;gs1.serialNumber\r\n" + "\r\n".join(rows), encoding="utf-8-sig", newline="")
    done = await _submit(answering, file)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "5 rows: 2 created, 1 replayed, 1 conflict, 1 rejected",
        f"  1 conflict: 409 Serial number already exists for this GTIN {TIMES} 1",
        f"  1 rejected: 404 Product not found {TIMES} 1",
        f"Answers: {file}.answers.csv",
        "To try refused rows again:",
        f"  passport-worker submit {shlex.quote(f'{file}.answers.csv')} --only rejected",
    ]
    found = answers(file)
    assert outcomes(file) == ["created", "created", "replayed", "rejected", "conflict"]
    assert [row["gs1.serialNumber"] for row in found] == ['Größe "1"; a', "U2", "U2", "U3", "U2"]
    assert [row["answer.status"] for row in found] == ["201", "201", "201", "404", "409"]
    assert [row["answer.error"] for row in found[2:]] == [
        "", "Product not found", "Serial number already exists for this GTIN",
    ]  # fmt: skip
    passport = found[1]["answer.passportId"]
    assert [row["answer.passportId"] for row in found[1:]] == [passport, passport, "", passport]
    assert found[0]["answer.digitalLinkUri"].endswith("/21/Gr%C3%B6%C3%9Fe%20%221%22%3B%20a")
    results = {one.cause: one for one in await asyncio.to_thread(answering.results)}
    for row in found:
        assert row["answer.key"] == key_of(row["productId"], gtin(1), row["gs1.serialNumber"])
        assert (results[row["answer.place"]].key or b"").decode() == row["answer.key"]
    commands = await asyncio.to_thread(answering.read, [answering.settings.topic_commands])
    assert {one.key for one in commands} == {gtin(1).encode()}
    content = answers_of(file)
    again = await _submit(answering, file)
    assert (again.returncode, again.stdout) == (1, f"all rows were answered earlier, nothing was sent\n{done.stdout}")
    assert answers_of(file) == content
    assert await _commands(answering) == len(commands)


@pytest.mark.parametrize("kills", [8, pytest.param(20, marks=pytest.mark.repeat)])
async def test_killed_at_some_moments_and_started_again(answering: Workbench, tmp_path: Path, kills: int) -> None:
    """One answer a row, in order; no passport twice; nothing is asked again but what was on its way."""
    rows = kills * 1000
    serials = [f"U{number}" for number in range(rows)]
    file, log, chance = sheet(tmp_path / "units.csv", serials), tmp_path / "submit.log", random.Random()
    for number in range(kills):
        process = start(answering, "submit", str(file), "--rate", "2500", "--in-flight", "1000", log=log)
        if number % 4 == 0:  # while it starts
            await asyncio.sleep(chance.uniform(0, 1))
        else:  # among answers: a start takes many seconds on a busy machine, so that no clock knows this moment
            size = len(answers_of(file)) + chance.randrange(1, 200_000)
            await asyncio.to_thread(_until_answered, process, file, size, log)
        process.kill()
        await asyncio.to_thread(process.wait)
    done = await _submit(answering, file)
    assert done.returncode == 0, done
    found = answers(file)
    assert [row["gs1.serialNumber"] for row in found] == serials
    assert set(outcomes(file)) <= {"created", "replayed"}
    assert len({row["answer.passportId"] for row in found}) == len({row["answer.place"] for row in found}) == rows
    assert await _passports(answering) == rows
    commands = await asyncio.to_thread(answering.read, [answering.settings.topic_commands])
    assert rows <= len(commands) <= rows + kills * 1000


async def test_results_of_others_under_our_keys_are_not_taken(answering: Workbench, tmp_path: Path) -> None:
    """Somebody repeats each of our keys, before and while we send: his are refused, and none of ours is."""
    file = sheet(tmp_path / "units.csv", (f"U{number}" for number in range(2_000)))
    keys = [key_of(tenant(0).product_id, gtin(number % 20), f"U{number}") for number in range(2_000)]
    strangers = [
        {"value": b"{}", "headers": [("authorization", b"Bearer tp_nobody"), ("idempotency-key", key.encode())]}
        for key in keys
    ]
    answering.publish(strangers)
    submitting = asyncio.create_task(_submit(answering, file, "--rate", "1500"))
    for at in range(0, 2_000, 100):
        await asyncio.sleep(0.1)
        await asyncio.to_thread(answering.publish, strangers[at : at + 100])
    assert (await submitting).returncode == 0
    assert Counter(outcomes(file)) == {"created": 2_000}
    assert [row["answer.key"] for row in answers(file)] == keys
    results = await answering.wait_for_results(6_000)
    assert Counter(answering.label_of(one.topic) for one in results) == {"created": 2_000, "rejected": 4_000}


async def test_nothing_in_a_result_topic_ends_it(bench: Workbench, tmp_path: Path) -> None:
    """What no worker writes, and what the client library cannot read."""
    worker = bench.start_worker(tmp_path / "worker.log")
    settings, file = bench.settings, sheet(tmp_path / "units.csv", (f"U{number}" for number in range(1_500)))
    submitting = asyncio.create_task(_submit(bench, file, "--rate", "300"))
    await _until_sent(bench, 100)
    causes = [f"{settings.topic_commands}/{partition}/{'9' * 5_000}".encode() for partition in range(2)]
    values = (b"[" * 200_000, b'{"details":{"fieldErrors":{"a":5}}}', b'{"status":NaN}', b"\xff")
    for topic in settings.result_topics:
        records = [(value, [("ce_causationid", cause)]) for cause in causes for value in values]
        await publish_raw(bench, [*records, (b"{}", [("QQ-name", b"")])], (b"QQ-name", b"\xff\xfe-name"), topic=topic)
    done = await submitting
    assert done.returncode == 0, done
    assert Counter(outcomes(file)) == {"created": 1_500}
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


async def test_overage_is_confirmed_in_a_second_round(answering: Workbench, tmp_path: Path) -> None:
    """The answers file is the input: only the rows that wait for it are sent."""
    one = tenant(20)
    connection = await answering.connect()
    try:
        await add_tenant(connection, one, max_dpps=2, overage_price_cents=75)
    finally:
        await connection.close()
    file = sheet(tmp_path / "units.csv", ("U1", "U2", "U3", "U4"), one)
    assert (await _submit(answering, file, PASSPORT_API_KEY=one.api_key)).returncode == 1
    assert sorted(outcomes(file)) == ["created"] * 2 + ["overage-required"] * 2
    waiting = [row["gs1.serialNumber"] for row in answers(file) if row["answer.outcome"] == "overage-required"]
    assert {row["answer.error"] for row in answers(file)} == {"", "overage_required: 75 cents each"}
    again = Path(f"{file}.answers.csv")
    options = ("--only", "overage-required,rejected", "--confirm-overage")
    assert (await _submit(answering, again, *options, PASSPORT_API_KEY=one.api_key)).returncode == 0
    assert outcomes(again) == ["created"] * 2
    assert [row["gs1.serialNumber"] for row in answers(again)] == waiting
    assert list(answers(again)[0]) == list(answers(file)[0])
    other = await _submit(answering, again, "--only", "overage-required", PASSPORT_API_KEY=one.api_key)
    assert (other.returncode, "another row there" in other.stderr) == (2, True)


async def test_refused_credentials_stop_it_and_can_be_mended(answering: Workbench, tmp_path: Path) -> None:
    """Twenty commands are enough to see it; the same command with the right key sends all rows."""
    file = sheet(tmp_path / "units.csv", (f"U{number}" for number in range(200)))
    done = await _submit(answering, file, PASSPORT_API_KEY="tp_wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the first 20 answers are all 401 Unauthorized, so sending has stopped" in done.stderr
    assert (await _commands(answering), answers_of(file)) == (20, b"")
    assert (await _submit(answering, file)).returncode == 0
    assert outcomes(file) == ["created"] * 200


async def test_a_few_refused_rows_are_tried_again(answering: Workbench, tmp_path: Path) -> None:
    """The command that does it is printed; its report is one JSON document, and progress is elsewhere."""
    file, second = sheet(tmp_path / "units.csv", ("U1", "U2")), tmp_path / "second.csv"
    for told in ("2 rows: 2 rejected", "all rows were answered earlier, nothing was sent"):
        done = await _submit(answering, file, PASSPORT_API_KEY="tp_wrong")
        assert (done.returncode, done.stdout.splitlines()[0]) == (1, told)
        assert f"  2 rejected: 401 Unauthorized {TIMES} 2" in done.stdout.splitlines()
    retry = done.stdout.splitlines()[-1].split()
    assert retry == ["passport-worker", "submit", f"{file}.answers.csv", "--only", "rejected"]
    again = await _submit(answering, Path(retry[2]), *retry[3:], "--answers", str(second), "--json")
    report = json.loads(again.stdout)
    assert (again.returncode, report["outcomes"], report["answersFile"]) == (0, {"created": 2}, str(second))
    schema = json.loads((REPOSITORY / "schemas" / "operations" / "submit.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(report)


async def test_ndjson_goes_byte_for_byte(answering: Workbench, tmp_path: Path) -> None:
    """Plain and as CloudEvents, with white space and fields that nobody knows."""
    one, file = tenant(1), tmp_path / "units.ndjson"
    lines = [
        b'{ "note":"\xc3\xa4\\u00e4",  "productId":"%s","gs1":{"gtin":"%s","serialNumber":"U%d"} }'
        % (one.product_id.encode(), gtin(1).encode(), number)
        for number in range(3)
    ]
    lines[1] = b'{"specversion":"1.0","id":"1","source":"/mes","type":"create","data":' + lines[1] + b"}"
    file.write_bytes(b"\n".join(lines) + b"\n")
    done = await _submit(answering, file, PASSPORT_API_KEY=one.api_key)
    assert done.returncode == 0, done
    commands = await asyncio.to_thread(answering.read, [answering.settings.topic_commands])
    assert [command.value for command in commands] == lines
    assert [answer["outcome"] for answer in ndjson_answers(file)] == ["created"] * 3


async def test_bad_rows_are_told_and_nothing_is_sent_unless_they_are_skipped(
    answering: Workbench, tmp_path: Path
) -> None:
    """Then they have an answer, too; equal faults are told together, also in a dry run, which needs no server."""
    file = sheet(tmp_path / "units.csv", ["U1", "", "U3", *[""] * 150])
    done = await _submit(answering, file)
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert told[:2] == ["column gs1.serialNumber: Required: 151 rows", "    row 2, line 3"]
    assert told[11:] == [
        "    and 141 more",
        "153 rows: 151 bad. Nothing was sent; --skip-bad sends the others.",
    ]
    assert answers_of(file) == b""
    dry = await asyncio.to_thread(run_command, "submit", str(file), "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()) == (
        1, [*told[:12], "153 rows: 2 good, 151 bad. Nothing was sent."],
    )  # fmt: skip
    skipped = await _submit(answering, file, "--skip-bad")
    assert skipped.returncode == 1
    assert outcomes(file) == ["created", "invalid", "created", *["invalid"] * 150]
    assert answers(file)[1]["answer.error"] == "column gs1.serialNumber: Required"
    assert await _commands(answering) == 2


async def test_ctrl_c_waits_for_answers_and_the_second_does_not(bench: Workbench, tmp_path: Path) -> None:
    """Without a worker none come: ten seconds, or none. With one, it ends as soon as all that was sent is answered."""
    file = sheet(tmp_path / "units.csv", (f"U{number}" for number in range(5_000)))
    for signals, least, most in ((1, 9.0, 14.0), (2, 0.0, 5.0)):
        before = await _commands(bench)
        process = start(bench, "submit", str(file))
        await _until_sent(bench, before + 20)  # the first rows, which try the credentials
        began = time.monotonic()
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.3)
        _, told = await asyncio.to_thread(process.communicate, timeout=20)
        assert least < time.monotonic() - began < most
        assert (process.returncode, "the same command continues from there" in told) == (1, True), told
    worker = bench.start_worker(tmp_path / "worker.log")
    process = start(bench, "submit", str(file), "--rate", "500")
    await _until_sent(bench, await _commands(bench) + 500)
    process.send_signal(signal.SIGINT)
    _, told = await asyncio.to_thread(process.communicate, timeout=9)
    assert (process.returncode, "interrupted: " in told) == (1, True), told
    sent = len(answers(file))
    assert 0 < sent < 5_000
    assert (await _submit(bench, file)).returncode == 0
    assert len(answers(file)) == await _passports(bench) == 5_000
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    await check_invariants(bench)


async def test_it_gives_up_where_nobody_answers(bench: Workbench, tmp_path: Path) -> None:
    """And says so; so it does where there are no topics, no credentials, no broker."""
    file = sheet(tmp_path / "units.csv", ("U1", "U2"))
    done = await _submit(bench, file, "--patience", "2")
    assert (done.returncode, "no answer came for 2 s, and 2 rows wait" in done.stderr) == (1, True), done
    done = await _submit(bench, file, PASSPORT_TOPIC_CREATED="not-there")
    assert (done.returncode, done.stderr) == (
        1, "passport-worker: missing topics: not-there. Run `passport-worker topics create`.\n",
    )  # fmt: skip
    done = await _submit(bench, file, PASSPORT_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (done.returncode, "Kafka cannot be reached" in done.stderr) == (1, True), done
    for options, environment in (((), {"PASSPORT_API_KEY": ""}), (("--credentials-file", "/none"), {})):
        done = await _submit(bench, file, *options, **environment)
        assert (done.returncode, "tp_secret" in done.stderr) == (2, False), done


async def test_a_full_disk_ends_it_and_it_goes_on_later(answering: Workbench, tmp_path: Path) -> None:
    """It says why; the answers end with a whole line, and each row is answered once there is room again."""
    file = sheet(tmp_path / "units.csv", (f"U{number}" for number in range(3_000)))
    process = start(answering, "submit", str(file))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    _, told = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 1
    assert told.endswith(".answers.csv: No space left on device; the same command continues from there\n"), told
    assert answers_of(file).endswith(b"\r\n")
    assert 0 < len(answers(file)) < 1_000
    assert (await _submit(answering, file)).returncode == 0
    assert len(answers(file)) == await _passports(answering) == 3_000


async def test_two_at_once_do_not_mix(bench: Workbench, tmp_path: Path) -> None:
    """The second is told so."""
    file = sheet(tmp_path / "units.csv", ("U1", "U2"))
    first = start(bench, "submit", str(file))
    await _until_sent(bench, 2)
    second = await _submit(bench, file)
    assert (second.returncode, "another process writes" in second.stderr) == (1, True)
    first.kill()
    first.communicate()


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        pytest.param(50_000, "", id="many", marks=pytest.mark.long),
        pytest.param(4_000, json.dumps("x" * 60_000), id="large", marks=pytest.mark.repeat),
        pytest.param(500, f"[{'[],' * 20_000}0]", id="nested", marks=pytest.mark.repeat),
    ],
)
async def test_memory_does_not_grow_with_the_file(answering: Workbench, tmp_path: Path, rows: int, note: str) -> None:
    """`python -m tests.benchmark.submit` measures it with a million rows."""
    file = sheet(tmp_path / "units.csv", (f"U{number}" for number in range(rows)))
    if note:
        file = tmp_path / "units.ndjson"
        line = f'{{"note":{note},"productId":"{tenant(0).product_id}","gs1":{{"gtin":"{gtin(1)}",'
        file.write_text("".join(f'{line}"serialNumber":"U{number}"}}}}\n' for number in range(rows)))
    process = start(answering, "submit", str(file), log=tmp_path / "submit.log", forked=False)
    highest = 0
    while process.poll() is None:
        highest = max(highest, await asyncio.to_thread(peak_bytes, process))
        await asyncio.sleep(0.2)
    assert process.returncode == 0, (tmp_path / "submit.log").read_text()
    assert await _passports(answering) == rows
    assert 0 < highest < 150e6


async def test_rows_are_signed_when_they_are_sent(answering: Workbench, tmp_path: Path) -> None:
    """Plain and as CloudEvents, with a private key in place of a secret; the worker knows its public half."""
    one = tenant(2)
    pem, file = tmp_path / "mes.pem", tmp_path / "units.ndjson"
    made = await asyncio.to_thread(run_command, "keys", "generate", str(pem))
    jwk = json.loads(made.stdout)["jwk"]
    insert = "INSERT INTO signing_key VALUES ($1, $2, $3, 'test')"
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")})
    connection = await answering.connect()
    try:
        await connection.execute(insert, jwk["kid"], one.company_id, members)
    finally:
        await connection.close()
    body = b'{"productId":"%s","gs1":{"gtin":"%s","serialNumber":"U%d"}}'
    values = [body % (one.product_id.encode(), gtin(3).encode(), number) for number in range(3)]
    values[1] = b'{"specversion":"1.0","id":"1","source":"/mes","type":"create","data":' + values[1] + b"}"
    file.write_bytes(b"\n".join(values))
    done = await _submit(answering, file, "--signing-key", str(pem), PASSPORT_API_KEY="")
    assert done.returncode == 0, (done, ndjson_answers(file))
    commands = await asyncio.to_thread(answering.read, [answering.settings.topic_commands])
    assert all(command.header("jws-signature") and not command.header("authorization") for command in commands)
    both = await _submit(answering, file, "--signing-key", str(pem), "--credentials-file", str(pem))
    assert (both.returncode, "--signing-key: expected without" in both.stderr) == (2, True)


async def test_a_file_whose_name_is_no_utf8(answering: Workbench, tmp_path: Path) -> None:
    """As archives of Windows unpack them. Seen to fail before: rows were sent, and no document came (exit 1)."""
    file = sheet(tmp_path / "Ger\udce4te.csv", ["S1"])
    done = await _submit(answering, file, "--json")
    assert (done.returncode, json.loads(done.stdout)["outcomes"]) == (0, {"created": 1})
