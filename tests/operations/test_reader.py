"""The reader: a role and a Kafka user that may look at all and change nothing; and each verb names what it lacks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.kafka_user import Permissions
from tests.infrastructure.roles import Roles, two_roles
from tests.infrastructure.secure_kafka import USER, SecureKafka, secure_kafka
from tests.operations.asking import Told, ask
from tests.workbench import Workbench, make_workbench, run_command
from worker.observability.certificates import CERTIFICATES
from worker.stream.cluster.permissions import Acl, needed_acls
from worker.tools.common.acls import reader_acls

pytestmark = pytest.mark.real_kafka


@pytest.fixture(scope="module")
def kafka() -> Iterator[SecureKafka]:
    """A broker of this file's own."""
    with secure_kafka() as kafka:
        yield kafka


@dataclass
class Reader:
    """Topics and a database that others have furnished; `environment` is that of who may look at them."""

    bench: Workbench
    roles: Roles
    permissions: Permissions
    environment: dict[str, str]

    async def ask(self, verb: str, *arguments: str) -> Told:
        """As the reader."""
        return await ask(self.bench, verb, *arguments, **self.environment)

    async def examine(self) -> dict[str, dict[str, Any]]:
        """What `doctor` tells the reader of each check that is not ok."""
        told = await self.ask("doctor")
        return {one["id"]: one for one in told.report["checks"] if one["status"] != "ok"}

    async def as_owner(self, statement: str) -> None:
        """What only the owner of tables and database may do."""
        owner = await asyncpg.connect(self.roles.owner_url)
        await owner.execute(statement)
        await owner.close()

    async def grant(self, option: str = "--grant-read-to") -> str:
        """By `migrate`; what it prints."""
        done = await asyncio.to_thread(run_command, "migrate", option, self.roles.run, **self.bench.environment)
        assert done.returncode == 0, done
        return done.stdout


@pytest_asyncio.fixture(scope="module")
async def reader(servers: Infrastructure, kafka: SecureKafka) -> AsyncIterator[Reader]:
    """One that was given all that a reader has, and no more."""
    async with two_roles(servers.database_url) as roles:
        bench = await make_workbench(kafka.bootstrap_servers, roles.owner_url, "reader")
        permissions = Permissions(kafka.bootstrap_servers)
        permissions.give(*reader_acls(bench.settings))
        environment = {**kafka.worker_environment(), "PASSPORT_DATABASE_URL": roles.run_url}
        one = Reader(bench, roles, permissions, environment)
        assert await one.grant() == f"the schema is up to date\n{roles.run} may do what changes nothing\n"
        yield one


EXECUTE = ("--execute", "--reason", "a test")
_NO_CERTIFICATES = {f"certificates.{name}" for name in CERTIFICATES if name != "ca"}
QUIET = {"backup.newest", "clock.log", "oauth.jwks", "oauth.tls"} | _NO_CERTIFICATES
"""Skipped here: no backup was noted, no command was appended, OAuth is off, the user has a password."""


async def test_a_reader_may_look_at_lanes_dead_letters_and_all_that_doctor_checks(reader: Reader) -> None:
    """That it lacks what `run` needs is told, and is no failure."""
    assert (await reader.ask("lanes")).code == 0
    assert (await reader.ask("dead-letters list")).code == 0
    assert (await reader.ask("dead-letters show", "0/0")).codes == ["no-dead-letter"]
    assert (await reader.ask("explain", "0/0")).codes == ["beyond-the-end"]
    assert (await reader.ask("audit")).code == 0
    assert (await reader.ask("replay")).code == 0
    assert (await reader.ask("lanes recover")).code == 0
    assert (await reader.ask("lanes reset")).code == 0
    told = await reader.ask("doctor")
    found = {one["id"]: one for one in told.report["checks"]}
    assert told.code == 0
    assert {id for id, one in found.items() if one["status"] == "skipped"} == QUIET | {
        "kafka.rights",
        "postgres.rights",
    }
    for id in ("kafka.rights", "postgres.rights"):
        assert found[id]["finding"].startswith("a reader's role, which may read everything and change nothing")
    assert found["certificates.ca"]["status"] == "warning"  # a test's authority ends within a day
    assert (found["kafka.tls"]["status"], found["postgres.tls"]["status"]) == ("ok", "warning")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT sha256 FROM api_key",
        "SELECT * FROM api_key",
        "SELECT count(*) FROM api_key WHERE sha256 = ''",
        "INSERT INTO plan VALUES ('p', 1, 1, 1)",
        "UPDATE lane SET applied = 0",
        "DELETE FROM operation",
        "SELECT FROM lane FOR UPDATE",
        "SELECT make_day('ledger', now()::date)",
        "SELECT drop_day(now()::date - 30)",
        "CREATE TABLE other (id integer)",
    ],
)
async def test_a_reader_may_not(reader: Reader, statement: str) -> None:
    """See a key's hash, nor write anything."""
    connection = await asyncpg.connect(reader.roles.run_url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()


async def test_a_right_that_lanes_lacks_is_named(reader: Reader) -> None:
    """In place of a driver's error; and `doctor` gives no reader the advice to become a worker."""
    role = reader.roles.run
    await reader.as_owner(f"REVOKE SELECT ON lane FROM {role}")
    try:
        told = await reader.ask("lanes")
        assert (told.code, told.report["problems"]) == (
            1,
            [
                {
                    "code": "postgres-rights",
                    "place": None,
                    "text": f"The role {role} lacks SELECT on table lane: "
                    f"run `passport-worker migrate --grant-read-to {role}` as the owner.",
                }
            ],
        )
        assert [one["logEnd"] for one in told.report["lanes"]] == [0, 0]
        found = await reader.examine()
        assert found["postgres.rights"]["status"] == "failed"
        assert (
            found["postgres.rights"]["advice"] == f"run `passport-worker migrate --grant-read-to {role}` as the owner."
        )
        assert found["lanes.lag"]["finding"] == "not checked, since postgres.rights has failed"
    finally:
        await reader.grant()


@pytest.mark.parametrize(
    "acl", [Acl("Read", "topic", "reader.create"), Acl("Describe", "group", "reader-group")], ids=str
)
async def test_an_acl_that_lanes_lacks_is_named(reader: Reader, acl: Acl) -> None:
    """Likewise; `doctor` goes on with Postgres."""
    reader.permissions.take(acl)
    try:
        told = await reader.ask("lanes")
        assert (told.code, told.codes) == (1, ["kafka-rights"])
        assert told.report["problems"][0]["text"] == f"Kafka denies user {USER} {acl}. Allow it, with one ACL each."
        found = await reader.examine()
        assert found["kafka.rights"]["status"] == "failed"
        assert found["topics.exist"]["finding"] == "not checked, since kafka.rights has failed"
        assert "postgres.schema" not in found
    finally:
        reader.permissions.give(acl)


async def test_connections_that_are_left_by_the_limit_of_the_database(reader: Reader) -> None:
    """Fewer than a worker's pool is unusual; so it is by the limit of the role."""
    database = reader.roles.run_url.rpartition("/")[2]
    await reader.as_owner(f"ALTER DATABASE {database} CONNECTION LIMIT 5")
    found = await reader.examine()
    await reader.as_owner(f"ALTER DATABASE {database} CONNECTION LIMIT -1")
    assert found["postgres.connections"]["status"] == "warning"
    assert found["postgres.connections"]["finding"].startswith("free connections: 5, expected 8 or more")


async def test_the_workers_own_role_and_user(reader: Reader) -> None:
    """Nothing is wrong. An ACL too few for `run` is named."""
    reader.permissions.give(*needed_acls(reader.bench.settings))
    await reader.as_owner(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {reader.roles.run}")
    await reader.grant("--grant-to")
    found = await reader.examine()
    assert {id for id, one in found.items() if one["status"] == "skipped"} == QUIET
    write = Acl("Write", "topic", reader.bench.settings.topic_created)
    reader.permissions.take(write)
    found = await reader.examine()
    assert found["kafka.rights"]["status"] == "failed"
    assert found["kafka.rights"]["finding"] == f"Kafka denies user {USER} {write}"


REPAIRS = (("audit",), ("lanes recover", *EXECUTE), ("lanes reset", *EXECUTE), ("replay", *EXECUTE))


async def test_what_long_verbs_lack_is_named_first(reader: Reader) -> None:
    """In Postgres a reader lacks what repairs; in Kafka the workers' own user lacks what they do not use."""
    role, settings = reader.roles.run, reader.bench.settings
    await reader.as_owner(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
    await reader.grant()
    for verb, *arguments in REPAIRS[1:]:
        told = await reader.ask(verb, *arguments)
        assert told.codes == ["postgres-rights"], verb
        assert f"run `passport-worker migrate --grant-to {role}`" in told.report["problems"][0]["text"]
    await reader.grant("--grant-to")
    reader.permissions.give(*needed_acls(settings))
    results = [Acl("Read", "topic", topic) for topic in settings.answer_topics]
    for one in results:
        reader.permissions.take(one)
    progress = Acl("Read", "group", f"{settings.group_id}.replay.", prefixed=True)
    for (verb, *arguments), lacking in zip(REPAIRS, ([*results], [*results], [*results], [progress]), strict=True):
        told = await reader.ask(verb, *arguments)
        text = f"Kafka denies user {USER} {', '.join(map(str, lacking))}. Allow it, with one ACL each."
        assert (told.codes, told.report["problems"][0]["text"]) == (["kafka-rights"], text), verb
    reader.permissions.give(*results, progress)
    for verb, *arguments in REPAIRS:
        assert (await reader.ask(verb, *arguments)).code == 0, verb


async def test_what_redrive_lacks_is_named_first(reader: Reader) -> None:
    """The role of `run` has its rights in Postgres, but not the right to write commands; a reader has neither."""
    role, write = reader.roles.run, Acl("Write", "topic", reader.bench.settings.topic_commands)
    await reader.as_owner(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
    await reader.grant()
    told = await reader.ask("dead-letters redrive", "0/0")
    assert told.codes == ["postgres-rights"]
    assert "INSERT on table redrive" in told.report["problems"][0]["text"]
    await reader.grant("--grant-to")
    reader.permissions.give(*needed_acls(reader.bench.settings))
    told = await reader.ask("dead-letters redrive", "0/0")
    assert (told.codes, told.report["problems"][0]["text"]) == (
        ["kafka-rights"],
        f"Kafka denies user {USER} {write}. Allow it, with one ACL each.",
    )
    reader.permissions.give(write)
    assert (await reader.ask("dead-letters redrive", "0/0")).codes == ["no-dead-letter"]
