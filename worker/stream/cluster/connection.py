"""How every Kafka client of the worker connects, and what the cluster is asked besides records."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Collection, Coroutine
from typing import Any

import stamina
from aiokafka.admin.config_resource import ConfigResourceType
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
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import HeartbeatRequest

from worker.settings import Settings
from worker.store.port import TopicIdentity
from worker.stream.aiokafka_internals import MetadataRequest
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

_ANOTHER_MAY_ANSWER = (TimeoutError, KafkaConnectionError, NodeNotReadyError, RequestTimedOutError)
_NO_MEMBER = (UnknownMemberIdError.errno, IllegalGenerationError.errno, RebalanceInProgressError.errno)


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


def _at_once(errors: type[Exception] | tuple[type[Exception], ...], attempts: int) -> AsyncIterator[stamina.Attempt]:
    """Attempts without a pause between them."""
    return stamina.retry_context(
        on=errors, attempts=attempts, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0, wait_exp_base=1
    )


class Cluster:
    """Questions to the cluster that are not about records. Every method raises `CLUSTER_ERRORS`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AIOKafkaClient | None = None
        self._starting = asyncio.Lock()

    async def client(self) -> AIOKafkaClient:
        """The client of all questions, started on first use."""
        try:
            async with self._starting:
                if self._client is None:
                    self._client = await self._start_client()
                return self._client
        except KafkaConnectionError as error:
            async with asyncio.timeout(ANSWER_SECONDS):
                raise await why_unreachable(self._settings) from error

    async def _start_client(self) -> AIOKafkaClient:
        client = AIOKafkaClient(**client_options(self._settings))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await client.bootstrap()
        except BaseException:
            await close_within(client.close(), 1.0)
            raise
        return client

    async def close(self) -> None:
        """Safe to call more than once; the next question opens a new client."""
        client, self._client = self._client, None
        if client is not None:
            await close_within(client.close(), 1.0)

    async def ping(self) -> None:
        """Raises unless the cluster answers; a client that got no answer is thrown away."""
        try:
            await self.ask(MetadataRequest([]))
        except BaseException:
            await self.close()
            raise

    async def ask_silent_brokers(self) -> None:
        """Whether brokers answer again that did not answer lately, so that no other question has to find out."""
        if any_silent():
            await ask_silent(await self.client())

    async def ask(self, request: Request) -> Response:
        """The answer of any broker, of which one after the other is asked: one may hang, and another may have died."""
        client = await self.client()
        async with asyncio.timeout(ANSWER_SECONDS):
            async for attempt in _at_once(_ANOTHER_MAY_ANSWER, BROKERS_ASKED):
                with attempt:
                    async with asyncio.timeout(NODE_SECONDS):
                        return await client.send(client.get_random_node(), request)
        raise AssertionError("stamina returns or raises")

    async def ask_group_coordinator(self, group_id: str, request: Request) -> Response:
        """The answer of the broker that coordinates a group."""
        return await self._ask_coordinator(CoordinationType.GROUP, group_id, request)

    async def ask_transaction_coordinator(self, transactional_id: str, request: Request) -> Response:
        """The answer of the broker that coordinates the transactions of an id."""
        return await self._ask_coordinator(CoordinationType.TRANSACTION, transactional_id, request)

    async def _ask_coordinator(self, role: int, key: str, request: Request) -> Response:
        client = await self.client()
        async with asyncio.timeout(ANSWER_SECONDS):
            async for attempt in _at_once(NodeNotReadyError, 3):
                with attempt:
                    if attempt.num > 1:  # a broker that has come, or whose place another one took, is found so
                        await client.force_metadata_update()
                    return await client.send(await self._coordinator(role, key), request)
        raise AssertionError("stamina returns or raises")

    async def _coordinator(self, role: int, key: str) -> int:
        found = await self.ask(FindCoordinatorRequest(key, role))
        if found.error_code:
            raise for_code(found.error_code)(f"the coordinator of {key}: error {found.error_code}")
        return int(found.coordinator_id)

    async def is_coordinated(self, transactional_id: str) -> bool:
        """Whether the broker that coordinates the transactions of an id answers, as far as is known.

        Nobody is asked while all brokers answer.
        """
        if not any_silent():
            return True
        node = await self._coordinator(CoordinationType.TRANSACTION, transactional_id)
        return not node_is_silent(await self.client(), node)

    async def committed(
        self, group_id: str, topic: str, partitions: Collection[int], *, stable: bool = True
    ) -> dict[int, Committed | KafkaError | None]:
        """The group's committed offsets, None where there is none. Ask after fencing (DESIGN: A session).

        An answer without a partition, or with an error, says neither (guard B17): a partition has its error, such as
        UNSTABLE_OFFSET_COMMIT while a transaction is not over, and an error of the whole is raised. Where `stable` is
        not asked for, a partition whose transaction is not over has the offset of the one before.
        """
        response = await self.ask_group_coordinator(
            group_id, OffsetsRequest(group_id, topic, sorted(partitions), stable=stable)
        )
        offsets = committed_offsets(response, topic)
        return {one: offsets.get(one, KafkaError("the coordinator did not answer for it")) for one in partitions}

    async def is_member(self, group_id: str, generation: int, member: str) -> bool:
        """Whether this is a member of the group's present generation, by a heartbeat in its name.

        A member of an older generation is none, and neither is one while the group rebalances. Raises `KafkaError`
        where the coordinator cannot tell.
        """
        code = (await self.ask_group_coordinator(group_id, HeartbeatRequest(group_id, generation, member))).error_code
        if code in _NO_MEMBER:
            return False
        if code:
            raise for_code(code)(f"a heartbeat of {member} in generation {generation}: error {code}")
        return True

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
        response = await self.ask(DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, None)]))
        code, message, _, _, entries = response.resources[0]
        if code:
            raise for_code(code)(f"configuration of topic {topic}: {message}")
        return {entry[0]: entry[1] for entry in entries}

    async def partition_counts(self, topics: list[str]) -> dict[str, int]:
        """Number of partitions of each topic that exists."""
        return {topic: shape.partitions for topic, shape in (await self.topic_shapes(topics)).items()}

    async def topic_shapes(self, topics: list[str]) -> dict[str, TopicShape]:
        """Numbers of partitions and replicas of each topic that exists."""
        described = (await self.ask(MetadataRequest(topics))).to_object()["topics"]
        return {
            one["topic"]: TopicShape(len(one["partitions"]), min(len(each["replicas"]) for each in one["partitions"]))
            for one in described
            if one["error_code"] == 0
        }


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
