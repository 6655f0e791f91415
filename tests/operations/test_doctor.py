"""`passport-worker doctor`: healthy, and each check alone broken on the real servers."""

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.certificates import Authority
from tests.integration.guards_helpers import changed, publish, raise_partitions, running, set_topic
from tests.operations.asking import ask
from tests.operations.examining import IN_CLEAR, NOT_CONFIGURED, examined, only
from tests.unit.oauth_builders import jwk, key_set, rsa_key
from tests.workbench import Workbench, make_past_day, run_command, tenant
from worker.app import make_worker
from worker.service import CannotStart
from worker.tools.common.journal import Author, operation
from worker.tools.demo.embedded import free_port
from worker.tools.doctor import judgements

pytestmark = pytest.mark.real_kafka


async def test_a_healthy_deployment(bench: Workbench) -> None:
    """Every check is ok, or skipped for what is not configured; for the strict, loopback without TLS alone is not."""
    async with running(bench):
        await publish(bench, [bench.command(tenant(0), 0, "u")])
        told = await ask(bench, "doctor", "--strict")
    assert (told.code, told.codes) == (1, ["kafka.tls", "postgres.tls"])
    found = {one["id"]: one for one in told.report["checks"]}
    assert {id for id, one in found.items() if one["status"] != "ok"} == NOT_CONFIGURED | IN_CLEAR
    assert {found[id]["status"] for id in IN_CLEAR} == {"warning"}
    assert {found[id]["status"] for id in NOT_CONFIGURED} == {"skipped"}
    assert found["oauth.jwks"]["finding"] == "OAuth is off: PASSPORT_OAUTH_JWKS is not set"
    assert found["topics.partitions"]["finding"].startswith("commands: 2, results and dead letters: 2 or more")


async def test_before_the_first_worker(bench: Workbench) -> None:
    """All is well, too, and no clock can be told from an empty log."""
    found = await examined(bench.settings)
    assert {id for id, one in found.items() if one.status != "ok"} == NOT_CONFIGURED | IN_CLEAR | {"clock.log"}
    assert found["clock.log"].finding == "no command was appended in the last 5 minutes"


async def test_a_warning_is_a_problem_for_the_strict_alone(bench: Workbench) -> None:
    """And people are told what to do in either case."""
    await set_topic(bench, bench.settings.topic_created, "cleanup.policy", "compact")
    told = await ask(bench, "doctor")
    assert (told.code, told.codes) == (0, [])
    strict = await asyncio.to_thread(run_command, "doctor", "--strict", COLUMNS="200", **bench.environment)
    assert strict.returncode == 1
    problem = f"topics.retention {bench.settings.topic_created}: cleanup.policy is compact, expected delete: "
    assert [line for line in strict.stdout.splitlines() if line.startswith(problem)]
    assert "kafka-configs.sh" in strict.stdout


async def test_kafka_is_away(bench: Workbench) -> None:
    """What Postgres knows is told all the same."""
    away = changed(bench.settings, kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    told = await only(away, "kafka.reachable", "failed", patience=1.0)
    assert told.finding.endswith(": connection refused")
    assert told.advice == "Start it, or correct PASSPORT_KAFKA_BOOTSTRAP_SERVERS."


async def test_postgres_is_away(bench: Workbench) -> None:
    """What Kafka knows is told all the same, and no password."""
    place = f"127.0.0.1:{free_port()}/x"
    away = changed(bench.settings, database_url=f"postgresql://w:hunter2@{place}")
    told = await only(away, "postgres.reachable", "failed", patience=1.0)
    assert told.finding == f"Postgres cannot be reached at {place}: connection refused"


async def test_a_database_that_will_not_have_us(bench: Workbench) -> None:
    """As `run` is told it, and at once."""
    url = bench.settings.database_url.rpartition("/")[0] + "/nosuch"
    told = await only(changed(bench.settings, database_url=url), "postgres.reachable", "failed")
    assert told.finding == 'The database refuses us: database "nosuch" does not exist'
    assert "CREATE DATABASE" in (told.advice or "")


@pytest.mark.parametrize(
    ("id", "topic", "key", "value", "status"),
    [
        ("topics.timestamp-type", "topic_commands", "message.timestamp.type", "CreateTime", "failed"),
        ("topics.timestamp-type", "topic_created", "message.timestamp.type", "CreateTime", "warning"),
        ("topics.message-size", "topic_created", "max.message.bytes", "1000", "failed"),
        ("topics.compression", "topic_commands", "compression.type", "gzip", "warning"),
        ("topics.retention", "topic_commands", "retention.ms", "2592000000", "warning"),
    ],
)
async def test_settings_of_topics(bench: Workbench, id: str, topic: str, key: str, value: str, status: str) -> None:
    """What is, and what was expected; 30 days are more than the ledger's 8."""
    name = getattr(bench.settings, topic)
    await set_topic(bench, name, key, value)
    told = await only(bench.settings, id, status)
    assert name in told.finding
    assert value in told.finding


async def test_topics_that_are_missing(bench: Workbench) -> None:
    """What would be asked of them is skipped, and says why."""
    name = f"{bench.settings.topic_rejected}.no"
    told = await only(changed(bench.settings, topic_rejected=name), "topics.exist", "failed")
    assert (told.finding, told.advice) == (f"missing topics: {name}", "Run `passport-worker topics create`.")


async def test_numbers_of_partitions_and_replicas(bench: Workbench) -> None:
    """Every result topic with too few is named."""
    told = await only(changed(bench.settings, topic_replication=2), "topics.replication", "warning")
    assert "has 1 replicas, expected 2 or more" in told.finding
    await raise_partitions(bench, bench.settings.topic_commands, 3)
    told = await only(bench.settings, "topics.partitions", "failed")
    assert told.finding.count("has 2 partitions, expected 3") == 5


async def test_a_database_that_is_not_migrated(bench: Workbench) -> None:
    """Whoever reads its tables waits for the migration."""
    await _execute(bench, "DELETE FROM schema_migration")
    told = await only(bench.settings, "postgres.schema", "failed")
    assert told.advice == "run `passport-worker migrate`."


async def test_a_group_under_which_no_lane_has_run(bench: Workbench) -> None:
    """A new group id would have every retained command answered again, so `run` refuses. Seen to fail: it ran."""
    group, topic = bench.settings.group_id, bench.settings.topic_commands
    insert = (
        "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) "
        "VALUES ($1, $2, $3, $4::bigint, $4, $4)"
    )
    await _execute(bench, insert, "before", f"{topic}.another", 0, 9)
    await _execute(bench, insert, "idle", topic, 0, 0)
    await _execute(bench, insert, group, topic, 0, None)
    assert (await examined(bench.settings))["postgres.group"].status == "ok"
    await _execute(bench, insert, "before", topic, 1, 9)
    told = await only(bench.settings, "postgres.group", "failed")
    assert told.finding == f"lanes of {topic} have run under 'before', expected them under '{group}'"
    assert (told.advice or "").startswith("Set PASSPORT_GROUP_ID=before: under a new group the worker would")
    with pytest.raises(CannotStart, match="PASSPORT_GROUP_ID=before"):
        await asyncio.wait_for(make_worker(bench.settings).run(), 30)
    await _execute(bench, insert, group, topic, 1, 0)
    assert (await examined(bench.settings))["postgres.group"].status == "ok"


async def test_commits_that_are_not_kept(bench: Workbench) -> None:
    """As the database has it for this role, whatever the server's file says."""
    name = bench.settings.database_url.rpartition("/")[2]
    await _execute(bench, f"ALTER DATABASE {name} SET synchronous_commit = off")
    told = await only(bench.settings, "postgres.durability", "failed")
    assert "fsync=on, full_page_writes=on, synchronous_commit=off" in told.finding


async def test_a_session_that_forgot_its_transaction(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who it is, and whom it keeps waiting; one that waits itself is not to blame."""
    monkeypatch.setattr(judgements, "LOCK_SECONDS", 0.2)
    forgetful, patient = await bench.connect(), await bench.connect()
    await forgetful.execute("BEGIN; LOCK TABLE product; SET application_name = 'somebody by hand'")
    waiting = asyncio.create_task(patient.fetch("SELECT FROM product"))
    await asyncio.sleep(0.5)
    found = await only(bench.settings, "postgres.locks", "failed")
    assert f": 1, expected none: session {forgetful.get_server_pid()} (role " in found.finding
    assert "application somebody by hand" in found.finding
    assert "idle in transaction since" in found.finding
    assert found.finding.endswith("keeps 1 waiting")
    await forgetful.execute("ROLLBACK")
    await waiting
    assert (await examined(bench.settings))["postgres.locks"].status == "ok"
    for one in (forgetful, patient):
        await one.close()


async def test_a_transaction_that_hangs(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it begins, as the tool that ends it wants to know it."""
    topic = bench.settings.topic_created
    producer = Producer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "transactional.id": f"{topic}-x"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"{}", partition=0)
    producer.flush(20)
    assert (await examined(bench.settings))["topics.transactions"].status == "ok"
    monkeypatch.setattr(judgements, "TRANSACTION_SECONDS", -60.0)
    found = await only(bench.settings, "topics.transactions", "failed")
    assert f": 1, expected none: {topic}/0 at 0, since " in found.finding
    producer.abort_transaction(20)
    assert (await examined(bench.settings))["topics.transactions"].status == "ok"


async def test_daily_partitions(bench: Workbench) -> None:
    """Those that are made too late, and those that nobody dropped."""
    connection = await bench.connect()
    today = await connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    old = today - timedelta(days=bench.settings.retention_days + 2)
    await make_past_day(connection, "ledger", old)
    told = await only(bench.settings, "days.dropped", "warning")
    assert f"daily partitions since {old} still exist" in told.finding
    await connection.execute(f"DROP TABLE ledger_{old:%Y%m%d}, ledger_{today + timedelta(days=1):%Y%m%d}")
    await only(bench.settings, "days.ahead", "warning")
    await connection.execute(f"DROP TABLE dead_letter_{today:%Y%m%d}")
    await only(bench.settings, "days.ahead", "failed")
    await connection.close()


async def test_a_halted_lane(bench: Workbench) -> None:
    """With the worker's own reason."""
    await _execute(
        bench,
        "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) VALUES ($1, $2, 0, 0, 0, 0)",
        bench.settings.group_id,
        bench.settings.topic_commands,
    )
    commit_offset(bench, 0, 9)
    found = await examined(bench.settings)
    assert {one.id for one in found.values() if one.status == "failed"} == {"lanes.halted"}
    assert "halted lanes: 1 of 2, expected none: partition 0: E=9" in found["lanes.halted"].finding
    assert found["lanes.unowned"].status == "warning"  # it ran, and nobody has it


async def test_commands_that_nobody_takes(bench: Workbench) -> None:
    """Where one waits, that is wrong."""
    await publish(bench, [bench.command(tenant(0), 0, "u", partition=1)])
    told = await only(bench.settings, "lanes.unowned", "failed")
    assert told.finding.endswith("expected none: partition 1 has 1 waiting")


async def test_clocks_that_are_ahead_and_commands_that_are_old(bench: Workbench) -> None:
    """By the times of records, which a trusted producer can set: two minutes ahead, then ten minutes old."""
    settings = changed(bench.settings, allow_producer_time=True)
    await set_topic(bench, settings.topic_commands, "message.timestamp.type", "CreateTime")
    now = int(time.time() * 1000)
    await publish(bench, [{**bench.command(tenant(0), 0, "a", partition=0), "timestamp": now + 120_000}])
    found = await examined(settings)
    assert found["clock.log"].status == "failed"
    assert "the newest command was appended 11" in found["clock.log"].finding
    assert found["lanes.lag"].status == "ok"
    await publish(bench, [{**bench.command(tenant(0), 0, "b", partition=1), "timestamp": now - 600_000}])
    found = await examined(settings)
    assert found["lanes.lag"].status == "warning"
    assert "commands waiting: 2, the oldest for 60" in found["lanes.lag"].finding


async def test_an_operation_that_nobody_ended(bench: Workbench) -> None:
    """After an hour; the verb and who began it are named."""
    statement = (
        "INSERT INTO operation (id, verb, begun_at, who, reason, arguments) "
        "VALUES ($1, 'replay', now() - $2::interval, 'ann@box', 'r', '{}')"
    )
    await _execute(bench, statement, uuid4(), timedelta(minutes=50))
    assert (await examined(bench.settings))["operations.open"].status == "ok"
    id = uuid4()
    await _execute(bench, statement, id, timedelta(minutes=70))
    told = await only(bench.settings, "operations.open", "warning")
    assert f"begun over an hour ago and not ended: 1, expected none: replay {id} of " in told.finding


async def test_an_operation_that_was_killed_is_over_when_its_command_has_run_again(bench: Workbench) -> None:
    """As the advice says. A failure of the second run, other arguments and other verbs leave it as it is."""
    statement = (
        "INSERT INTO operation (id, verb, begun_at, who, reason, arguments) "
        "VALUES ($1, $2, now() - interval '70 minutes', 'ann@box', 'r', $3)"
    )
    for verb, label in (("keys create", "a"), ("keys create", "b"), ("replay", "a")):
        await _execute(bench, statement, uuid4(), verb, json.dumps({"label": label}))
    again, arguments = Author("ann", "again"), {"label": "a"}
    connection = await bench.connect()
    try:
        with suppress(ZeroDivisionError):
            async with operation(connection, "keys create", again, arguments):
                raise ZeroDivisionError
        assert "not ended: 3, expected none" in (await only(bench.settings, "operations.open", "warning")).finding
        async with operation(connection, "keys create", again, arguments):
            pass
        rows = await connection.fetch("SELECT verb, outcome, arguments ->> 'label' FROM operation")
    finally:
        await connection.close()
    assert "not ended: 2, expected none" in (await only(bench.settings, "operations.open", "warning")).finding
    assert Counter(map(tuple, rows)) == {
        ("keys create", "interrupted", "a"): 1,
        ("keys create", "failed", "a"): 1,
        ("keys create", "done", "a"): 1,
        ("keys create", None, "b"): 1,
        ("replay", None, "a"): 1,
    }


async def test_companies_that_have_to_sign_and_cannot(bench: Workbench) -> None:
    """Not those that have a key that is valid now, nor those that move tomorrow or are closed."""
    move = "UPDATE company SET signatures_required_from = now() + $2::interval WHERE id = $1"
    one, later, good, closed = (tenant(number).company_id for number in range(4))
    for company, ahead in ((one, timedelta()), (later, timedelta(days=1)), (good, timedelta()), (closed, timedelta())):
        await _execute(bench, move, company, ahead)
    await _execute(bench, "UPDATE company SET closed_at = now() WHERE id = $1", closed)
    key = "INSERT INTO signing_key VALUES ($1, $2, '{}', '', now() + $3::interval, now() + $4::interval)"
    for letter, company, begins, ends in (("a", one, -2, -1), ("b", one, 1, 2), ("c", good, -1, 1)):
        await _execute(bench, key, letter * 43, company, timedelta(days=begins), timedelta(days=ends))
    told = await only(changed(bench.settings, signature_audience="a"), "keys.signing", "warning")
    found = "companies that must sign but have no valid signing key: 1, expected none:"
    assert told.finding == f"{found} Company ({one})"


async def test_signatures_that_a_move_would_refuse(bench: Workbench) -> None:
    """Without an audience they name the command topic. Nobody signs with keys that are all revoked."""
    key = "INSERT INTO signing_key VALUES ($1, $2, '{}', '', NULL, now() + $3::interval)"
    await _execute(bench, key, "a" * 43, tenant(0).company_id, timedelta(days=-1))
    assert (await examined(bench.settings))["keys.audience"].status == "ok"
    for letter in "bc":
        await _execute(bench, key, letter * 43, tenant(1).company_id, None)
    told = await only(bench.settings, "keys.audience", "warning")
    assert told.finding == (
        "companies with signing keys while PASSPORT_SIGNATURE_AUDIENCE is not set: 1, expected none"
    )
    found = await examined(changed(bench.settings, signature_audience="passports.example"))
    assert found["keys.audience"].finding == "signatures are for passports.example"


async def test_keys_of_access_tokens(bench: Workbench, tmp_path: Path) -> None:
    """A set without a usable key is as good as none."""
    file = tmp_path / "jwks.json"
    settings = changed(bench.settings, oauth_jwks=str(file), oauth_issuer="i", oauth_audience="a")
    told = (await examined(settings))["oauth.jwks"]
    assert (told.status, told.finding) == ("failed", "Expected a readable JWKS, got FileNotFoundError")
    file.write_bytes(key_set())
    told = await only(settings, "oauth.jwks", "failed")
    assert told.finding == "usable keys: 0, expected one or more"
    file.write_bytes(key_set(jwk(rsa_key(), "k")))
    assert (await examined(settings))["oauth.jwks"].status == "ok"


async def test_certificates(bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of tests end within a day; what is no certificate has no end."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("worker")
    await only(changed(bench.settings, kafka_ssl_certfile=str(certificate)), "certificates.client", "warning")
    await only(changed(bench.settings, kafka_ssl_cafile=str(authority.file)), "certificates.ca", "warning")
    monkeypatch.setenv("PGSSLKEY", str(key))
    monkeypatch.setenv("PGSSLCERT", str(certificate))
    await only(bench.settings, "certificates.database-client", "warning")
    monkeypatch.delenv("PGSSLCERT")
    monkeypatch.setenv("PGSSLROOTCERT", str(authority.file))
    await only(bench.settings, "certificates.database-ca", "warning")
    monkeypatch.delenv("PGSSLROOTCERT")
    (tmp_path / "text").write_text("no certificate")
    told = await only(changed(bench.settings, kafka_ssl_cafile=str(tmp_path / "text")), "certificates.ca", "failed")
    assert told.finding == "expected a readable certificate, got ValueError"


async def _execute(bench: Workbench, statement: str, *arguments: object) -> None:
    connection = await bench.connect()
    await connection.execute(statement, *arguments)
    await connection.close()
