"""How every Kafka client of the worker connects, and what the cluster is asked besides records."""

import asyncio
import os
import ssl
from collections import defaultdict
from collections.abc import Collection, Coroutine
from typing import Any

import aiokafka.admin.client
import aiokafka.client
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    RebalanceInProgressError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    UnknownMemberIdError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from worker.settings import Settings
from worker.store.port import TopicIdentity
from worker.stream.cluster.metadata_v10 import TopicsRequest, identity_of, operations_by_topic
from worker.stream.cluster.offset_fetch_v7 import Committed, OffsetsRequest, committed_offsets
from worker.stream.cluster.silent_brokers import NODE_SECONDS, any_silent, ask_silent, node_is_silent
from worker.stream.cluster.topic_settings import TopicShape

ANSWER_SECONDS = 15.0
"""Deadline of one request to the cluster; aiokafka waits without bounds in several places (guard B5)."""

BROKERS_ASKED = 4
"""How many are asked one after the other, `NODE_SECONDS` each, what any broker can answer."""

CLUSTER_ERRORS = (KafkaError, TimeoutError)
"""What questions to a cluster raise."""

_NO_MEMBER = (UnknownMemberIdError.errno, IllegalGenerationError.errno, RebalanceInProgressError.errno)


class _OnlyAsking(MetadataRequest):  # type: ignore[misc]  # aiokafka ships no types
    """aiokafka lets a broker that may do so make every topic that it asks about, and has no option to forbid it."""

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


# For all clients of this process. A topic that is made by being asked for has one partition and the producers' time.
aiokafka.client.MetadataRequest = aiokafka.admin.client.MetadataRequest = _OnlyAsking


class _PatientAdmin(AIOKafkaAdminClient):  # type: ignore[misc]
    """aiokafka sends a question for any broker to a random one, and waits for that one only."""

    async def _send_request(self, request: Request, node_id: int | None = None) -> Response:
        if node_id is not None:
            return await super()._send_request(request, node_id)
        for is_last in (*[False] * (BROKERS_ASKED - 1), True):
            node = self._client.get_random_node()
            try:
                async with asyncio.timeout(NODE_SECONDS):
                    return await super()._send_request(request, node)
            except (TimeoutError, KafkaConnectionError, NodeNotReadyError, RequestTimedOutError) as error:
                if is_last:
                    raise
                if isinstance(error, NodeNotReadyError):  # it has died, perhaps, since the client looked last
                    await self._client.force_metadata_update()
        raise AssertionError("the last attempt returns or raises")


def client_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that all aiokafka clients share: addresses and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
        "client_id": "passport-worker",
        "request_timeout_ms": 30_000,
        "retry_backoff_ms": 100,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        password = settings.kafka_sasl_password
        options["sasl_plain_password"] = password.get_secret_value() if password else None
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
        if settings.kafka_ssl_certfile:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    except OSError as error:  # ssl's own errors are some, too
        raise Refused(f"the files of PASSPORT_KAFKA_SSL_* cannot be read: {_told(error)}") from error
    return context


class Refused(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """The cluster does not take our credentials, or we do not take its certificate: settings are wrong on a side."""


async def why_unreachable(settings: Settings) -> KafkaError:
    """What the first of the servers says to a connection of ours; `Refused` where one of them turns us away.

    aiokafka only logs it, and raises the same for a wrong password as for a broker that is away.
    """
    options = client_options(settings)
    del options["bootstrap_servers"], options["retry_backoff_ms"]
    reasons: list[KafkaError] = []
    for host, port, _ in collect_hosts(settings.kafka_bootstrap_servers, randomize=False):
        try:
            (await create_conn(host, port, **options)).close()
        except (SaslAuthenticationFailed, UnsupportedSaslMechanismError, ssl.SSLCertVerificationError) as error:
            return Refused(f"{host}:{port}: {_told(error)}")
        except (OSError, TimeoutError, KafkaError) as error:
            reasons.append(KafkaConnectionError(f"{host}:{port}: {_told(error)}"))
    return reasons[0] if reasons else KafkaConnectionError("answers only now")


def _told(error: Exception) -> str:
    """With its class, which aiokafka's errors say by themselves."""
    if isinstance(error, KafkaError):
        return str(error)
    # asyncio repeats the address, in its own words.
    text = os.strerror(error.errno) if isinstance(error, ConnectionError) and error.errno else str(error)
    return f"{type(error).__name__}: {text}"


def explain(error: Exception, settings: Settings) -> str:
    """One sentence on a cluster that did not do what it was asked: what is wrong, where, and which setting says so."""
    if isinstance(error, Refused):
        return f"Kafka cannot be used with these PASSPORT_KAFKA_* settings: {error.args[0]}"
    servers = "the servers of PASSPORT_KAFKA_BOOTSTRAP_SERVERS"
    if isinstance(error, KafkaConnectionError):
        return f"Kafka cannot be reached at {servers}: {error.args[0]}"
    if isinstance(error, TimeoutError):
        return f"Kafka did not answer in {ANSWER_SECONDS:.0f} s, at {servers} ({settings.kafka_bootstrap_servers})"
    return f"Kafka: {_told(error)}"


def is_passing(error: Exception) -> bool:
    """Whether it is worth while to ask a cluster again after one of `CLUSTER_ERRORS`."""
    return isinstance(error, KafkaConnectionError) or (isinstance(error, KafkaError) and error.retriable)


class Cluster:
    """Questions to the cluster that are not about records. Every method raises `CLUSTER_ERRORS`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AIOKafkaAdminClient | None = None
        self._starting = asyncio.Lock()

    async def admin(self) -> AIOKafkaAdminClient:
        """The admin client, started on first use."""
        try:
            async with self._starting:
                if self._admin is None:
                    self._admin = await self._start_admin()
                return self._admin
        except KafkaConnectionError as error:
            async with asyncio.timeout(ANSWER_SECONDS):
                raise await why_unreachable(self._settings) from error

    async def _start_admin(self) -> AIOKafkaAdminClient:
        admin = _PatientAdmin(**client_options(self._settings))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await admin.start()
        except BaseException:
            await close_within(admin.close(), 1.0)
            raise
        return admin

    async def close(self) -> None:
        """Safe to call more than once; the next question opens a new client."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await close_within(admin.close(), 1.0)

    async def ping(self) -> None:
        """Raises unless the cluster answers; a client that got no answer is thrown away."""
        try:
            admin = await self.admin()
            async with asyncio.timeout(ANSWER_SECONDS):
                await admin.describe_cluster()
        except BaseException:
            await self.close()
            raise

    async def ask_silent_brokers(self) -> None:
        """Whether brokers answer again that did not answer lately, so that no other question has to find out."""
        if any_silent():
            await ask_silent((await self.admin())._client)

    async def committed(
        self, group_id: str, topic: str, partitions: Collection[int], *, stable: bool = True
    ) -> dict[int, Committed | KafkaError | None]:
        """The group's committed offsets, None where there is none. Ask after fencing (DESIGN: A session).

        An answer without a partition, or with an error, says neither (guard B17): a partition has its error, such as
        UNSTABLE_OFFSET_COMMIT while a transaction is not over, and an error of the whole is raised. Where `stable` is
        not asked for, a partition whose transaction is not over has the offset of the one before.
        """
        response = await self._ask_coordinator(
            group_id, OffsetsRequest(group_id, topic, sorted(partitions), stable=stable)
        )
        offsets = committed_offsets(response, topic)
        return {one: offsets.get(one, KafkaError("the coordinator did not answer for it")) for one in partitions}

    async def is_member(self, group_id: str, generation: int, member: str) -> bool:
        """Whether this is a member of the group's present generation, by a heartbeat in its name.

        A member of an older generation is none, and neither is one while the group rebalances. Raises `KafkaError`
        where the coordinator cannot tell.
        """
        code = (await self._ask_coordinator(group_id, HeartbeatRequest(group_id, generation, member))).error_code
        if code in _NO_MEMBER:
            return False
        if code:
            raise for_code(code)(f"a heartbeat of {member} in generation {generation}: error {code}")
        return True

    async def _ask_coordinator(self, group_id: str, request: Request) -> Response:
        return await self._ask(request, group_id, CoordinationType.GROUP)

    async def ask_transaction_coordinator(self, transactional_id: str, request: Request) -> Response:
        """The answer of the broker that coordinates the transactions of an id."""
        return await self._ask(request, transactional_id, CoordinationType.TRANSACTION)

    async def is_coordinated(self, transactional_id: str) -> bool:
        """Whether the broker that coordinates the transactions of an id answers, as far as is known.

        Nobody is asked while all brokers answer.
        """
        if not any_silent():
            return True
        admin = await self.admin()
        async with asyncio.timeout(ANSWER_SECONDS):
            node = await admin.find_coordinator(transactional_id, CoordinationType.TRANSACTION)
        return not node_is_silent(admin._client, node)

    async def ask(self, request: Request) -> Response:
        """The answer of any one broker to a request of the protocol."""
        return await self._ask(request)

    async def _ask(self, request: Request, key: str | None = None, role: int = CoordinationType.GROUP) -> Response:
        """Public aiokafka has no way to send one, and goes on to ask brokers that have died since it looked last."""
        admin = await self.admin()
        async with asyncio.timeout(ANSWER_SECONDS):
            for is_last in (False, False, True):
                try:
                    return await admin._send_request(request, key and await admin.find_coordinator(key, role))
                except NodeNotReadyError:
                    if is_last:
                        raise
                    await admin._client.force_metadata_update()
        raise AssertionError("the last attempt returns or raises")

    async def allowed_on_topics(self, topics: list[str]) -> dict[str, frozenset[str]]:
        """See `operations_by_topic`; nothing where the broker is too old to tell."""
        try:
            return operations_by_topic(await self.ask(TopicsRequest(topics)))
        except NotImplementedError:
            return {}

    async def identity(self, topic: str) -> TopicIdentity | None:
        """Which topic that is; None where the broker is too old to tell.

        Raises `UnknownTopicOrPartitionError` where there is none of that name.
        """
        try:
            return identity_of(await self.ask(TopicsRequest([topic])))
        except NotImplementedError:
            return None

    async def topic_settings(self, topic: str) -> dict[str, str]:
        """Configuration of a topic by name; raises `KafkaError` for an unknown topic, and where we may not ask."""
        admin = await self.admin()
        async with asyncio.timeout(ANSWER_SECONDS):
            responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        code, message, _, _, entries = responses[0].resources[0]
        if code:
            raise for_code(code)(f"configuration of topic {topic}: {message}")
        return {entry[0]: entry[1] for entry in entries}

    async def partition_counts(self, topics: list[str]) -> dict[str, int]:
        """Number of partitions of each topic that exists."""
        return {topic: shape.partitions for topic, shape in (await self.topic_shapes(topics)).items()}

    async def topic_shapes(self, topics: list[str]) -> dict[str, TopicShape]:
        """Numbers of partitions and replicas of each topic that exists."""
        admin = await self.admin()
        async with asyncio.timeout(ANSWER_SECONDS):
            described = await admin.describe_topics(topics)
        return {
            one["topic"]: TopicShape(len(one["partitions"]), min(len(each["replicas"]) for each in one["partitions"]))
            for one in described
            if one["error_code"] == 0
        }


def has_leader(client: AIOKafkaClient, place: TopicPartition) -> bool:
    """Whether somebody takes or gives the records of a partition, by the client's metadata."""
    return client.cluster.leader_for_partition(place) not in (None, -1)


def partitions_by_leader(
    client: AIOKafkaClient, topic: str, partitions: Collection[int]
) -> tuple[dict[int, list[int]], list[int]]:
    """Those partitions that each broker leads, by the client's metadata, and those without a leader."""
    led, without = defaultdict[int, list[int]](list), list[int]()
    for partition in partitions:
        place = TopicPartition(topic, partition)
        if has_leader(client, place):
            led[client.cluster.leader_for_partition(place)].append(partition)
        else:
            without.append(partition)
    return led, without


async def close_within(closing: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait for a client to close, for a bounded time, whatever comes of it.

    In a task of its own: while the broker is away aiokafka lets stray cancellations out, and they must not end ours.
    """
    task = asyncio.ensure_future(closing)
    _, late = await asyncio.wait({task}, timeout=seconds)
    if late:
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
    if task.done() and not task.cancelled():
        task.exception()
