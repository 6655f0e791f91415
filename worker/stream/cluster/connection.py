"""Connects the worker's Kafka clients, and asks clusters questions that are not about records."""

import asyncio
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
from aiokafka.structs import TopicPartition

from worker.messages.away import KAFKA, reason_of, silent, unreachable
from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.store.port import TopicIdentity
from worker.stream.aiokafka_internals import MetadataRequest
from worker.stream.cluster.credentials import Refused, security_options, with_present_credentials
from worker.stream.cluster.leaders import by_topic
from worker.stream.cluster.metadata_v10 import TopicsRequest, identities_of, operations_by_topic
from worker.stream.cluster.offset_fetch_v7 import Committed, OffsetsRequest, committed_offsets
from worker.stream.cluster.silent_brokers import NODE_SECONDS, any_silent, ask_silent, node_is_silent
from worker.stream.cluster.topic_settings import TopicShape

# The deadline of a question to a cluster: aiokafka waits without limit in several places (guard B5).
ANSWER_SECONDS = 15.0

# How many brokers are asked, one after another for `NODE_SECONDS` each, if any broker can answer.
BROKERS_ASKED = 4

# The errors that a question to a cluster can raise.
CLUSTER_ERRORS = (KafkaError, TimeoutError)

_ANOTHER_MAY_ANSWER = (TimeoutError, KafkaConnectionError, NodeNotReadyError, RequestTimedOutError)
_NO_MEMBER = (UnknownMemberIdError.errno, IllegalGenerationError.errno, RebalanceInProgressError.errno)


def client_options(settings: Settings) -> dict[str, Any]:
    """The keyword arguments of every aiokafka client: addresses and security."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": "passport-worker",
        "request_timeout_ms": 30_000,
        "retry_backoff_ms": 100,
        **security_options(settings),
    }


async def why_unreachable(settings: Settings) -> KafkaError:
    """Find out why no server can be used: `Refused` if one rejects the connection, else the error of the first one.

    aiokafka only logs this, and raises the same error for a wrong password as for a broker that is away.
    """
    options = client_options(settings)
    del options["bootstrap_servers"], options["retry_backoff_ms"]
    reasons: list[tuple[str, str]] = []
    for host, port, _ in collect_hosts(settings.kafka_bootstrap_servers, randomize=False):
        try:
            (await create_conn(host, port, **await with_present_credentials(options))).close()
        except Refused as error:
            return error
        except (SaslAuthenticationFailed, UnsupportedSaslMechanismError, ssl.SSLCertVerificationError) as error:
            return Refused(f"{host}:{port}: {_text_of(error)}")
        except (OSError, TimeoutError, KafkaError) as error:
            reasons.append((f"{host}:{port}", _text_of(error)))
    if not reasons:
        return KafkaConnectionError("it answers only now")
    server, reason = reasons[0]
    return KafkaConnectionError(reason if len(reasons) == 1 else f"{reason}, at {server} first")


def _text_of(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{type(error).__name__}: {error}"
    # The text of aiokafka's errors begins with their class.
    return reason_of(error) if isinstance(error, OSError) else str(error)


def kafka_fault(error: Exception, settings: Settings) -> CheckResult:
    """Describe an error of `CLUSTER_ERRORS`."""
    servers = settings.kafka_bootstrap_servers
    if isinstance(error, Refused):
        finding = f"Kafka cannot be used with these PASSPORT_KAFKA_* settings: {error.args[0]}"
        return CheckResult(KAFKA.check, finding, "Correct these settings, or Kafka's listeners and users.")
    if isinstance(error, KafkaConnectionError):
        return unreachable(KAFKA, servers, str(error.args[0]))
    if isinstance(error, TimeoutError):
        return silent(KAFKA, servers)
    return CheckResult(KAFKA.check, f"Kafka: {_text_of(error)}")


def explain(error: Exception, settings: Settings) -> str:
    """Explain an error of `CLUSTER_ERRORS` to users in one text: what happened, and what to do."""
    return str(kafka_fault(error, settings))


def _at_once(errors: type[Exception] | tuple[type[Exception], ...], attempts: int) -> AsyncIterator[stamina.Attempt]:
    """Attempts without pauses, since each asks another broker."""
    return stamina.retry_context(
        on=errors, attempts=attempts, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0, wait_exp_base=1
    )


class Cluster:
    """Questions to a cluster over one client. Every method raises `CLUSTER_ERRORS`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: AIOKafkaClient | None = None
        self._starting = asyncio.Lock()

    async def client(self) -> AIOKafkaClient:
        """The client of all questions, which starts on first use."""
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
        """Close the client. The next question starts a new one."""
        client, self._client = self._client, None
        if client is not None:
            await close_within(client.close(), 1.0)

    async def ping(self) -> None:
        """Raise unless a broker answers. A client that gets no answer is replaced."""
        try:
            await self.ask(MetadataRequest([]))
        except BaseException:
            await self.close()
            raise

    async def ask_silent_brokers(self) -> None:
        """Find out whether silent brokers answer again, so that no other question has to wait for one to find out."""
        if any_silent():
            await ask_silent(await self.client())

    async def ask(self, request: Request) -> Response:
        """Ask one broker after another until one answers: a broker may hang, and another may have died."""
        client = await self.client()
        async with asyncio.timeout(ANSWER_SECONDS):
            async for attempt in _at_once(_ANOTHER_MAY_ANSWER, BROKERS_ASKED):
                with attempt:
                    try:
                        async with asyncio.timeout(NODE_SECONDS):
                            return await client.send(client.get_random_node(), request)
                    except NodeNotReadyError:
                        # The broker may have died since the last metadata: do not pick it again.
                        await client.force_metadata_update()
                        raise
        raise AssertionError("stamina returns or raises")

    async def ask_group_coordinator(self, group_id: str, request: Request) -> Response:
        """Ask the broker that coordinates a group."""
        return await self._ask_coordinator(CoordinationType.GROUP, group_id, request)

    async def ask_transaction_coordinator(self, transactional_id: str, request: Request) -> Response:
        """Ask the broker that coordinates the transactions of an id."""
        return await self._ask_coordinator(CoordinationType.TRANSACTION, transactional_id, request)

    async def _ask_coordinator(self, role: int, key: str, request: Request) -> Response:
        client = await self.client()
        async with asyncio.timeout(ANSWER_SECONDS):
            async for attempt in _at_once(NodeNotReadyError, 3):
                with attempt:
                    if attempt.num > 1:
                        # The client may not know yet that a broker has just started, or has a new address.
                        await client.force_metadata_update()
                    return await client.send(await self._coordinator(role, key), request)
        raise AssertionError("stamina returns or raises")

    async def _coordinator(self, role: int, key: str) -> int:
        answer = await self.ask(FindCoordinatorRequest(key, role))
        if answer.error_code:
            raise for_code(answer.error_code)(f"the coordinator of {key}: error {answer.error_code}")
        return int(answer.coordinator_id)

    async def is_coordinated(self, transactional_id: str) -> bool:
        """Whether the coordinator of a transactional id is not silent, as far as the worker knows."""
        if not any_silent():  # the usual case, without a question
            return True
        node = await self._coordinator(CoordinationType.TRANSACTION, transactional_id)
        return not node_is_silent(await self.client(), node)

    async def committed(
        self, group_id: str, partitions: Collection[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, Committed | KafkaError | None]:
        """The committed offsets of a group, None for a partition that has none. Fence before (DESIGN: A session).

        A partition with an error has the error, such as UNSTABLE_OFFSET_COMMIT while a transaction is open. Errors of
        the whole answer are raised. Without `stable`, open transactions are ignored.
        """
        wanted = by_topic(dict.fromkeys(sorted(partitions)))
        response = await self.ask_group_coordinator(group_id, OffsetsRequest(group_id, wanted, stable=stable))
        offsets = committed_offsets(response)
        # "No offset" would let a lane start from scratch, so a partition that the answer lacks is an error (guard B17).
        missing = KafkaError("the coordinator did not answer for it")
        return {partition: offsets.get(partition, missing) for partition in partitions}

    async def all_committed(self, group_id: str) -> dict[TopicPartition, Committed]:
        """All committed offsets of a group, also of topics that nobody reads any longer. Ignores open transactions.

        Leaves out topics that the user may not describe, and partitions with an error.
        """
        response = await self.ask_group_coordinator(group_id, OffsetsRequest(group_id, None, stable=False))
        offsets = committed_offsets(response).items()
        return {partition: offset for partition, offset in offsets if isinstance(offset, Committed)}

    async def is_member(self, group_id: str, generation: int, member: str) -> bool:
        """Whether the group's present generation has this member, found out by a heartbeat in its name.

        False for members of older generations, and while the group rebalances.
        """
        code = (await self.ask_group_coordinator(group_id, HeartbeatRequest(group_id, generation, member))).error_code
        if code in _NO_MEMBER:
            return False
        if code:
            raise for_code(code)(f"a heartbeat of {member} in generation {generation}: error {code}")
        return True

    async def allowed_on_topics(self, topics: list[str]) -> dict[str, frozenset[str]]:
        """See `operations_by_topic`. Empty if brokers are too old to answer."""
        try:
            return operations_by_topic(await self.ask(TopicsRequest(topics)))
        except NotImplementedError:
            return {}

    async def identities(self, topics: Collection[str]) -> dict[str, TopicIdentity | KafkaError | None]:
        """The ids of topics; None if brokers are too old to have ids.

        A topic with an error has the error, such as `UnknownTopicOrPartitionError` if it does not exist.
        """
        try:
            return identities_of(await self.ask(TopicsRequest([*topics])))
        except NotImplementedError:
            return dict.fromkeys(topics)

    async def identity(self, topic: str) -> TopicIdentity | None:
        """The id of one topic. Raises its error."""
        identity = (await self.identities([topic]))[topic]
        if isinstance(identity, KafkaError):
            raise identity
        return identity

    async def topic_settings(self, topic: str) -> dict[str, str]:
        """The configuration of a topic. Raises if the topic does not exist, or a right is missing."""
        response = await self.ask(DescribeConfigsRequest([(ConfigResourceType.TOPIC, topic, None)]))
        code, message, _, _, entries = response.resources[0]
        if code:
            raise for_code(code)(f"configuration of topic {topic}: {message}")
        return {entry[0]: entry[1] for entry in entries}

    async def partition_counts(self, topics: list[str]) -> dict[str, int]:
        """How many partitions each topic has. Topics that do not exist are left out."""
        return {topic: shape.partitions for topic, shape in (await self.topic_shapes(topics)).items()}

    async def topic_shapes(self, topics: list[str]) -> dict[str, TopicShape]:
        """How many partitions and replicas each topic has. Topics that do not exist are left out."""
        shapes = {}
        for topic in (await self.ask(MetadataRequest(topics))).to_object()["topics"]:
            if topic["error_code"] == 0:
                replicas = [len(partition["replicas"]) for partition in topic["partitions"]]
                shapes[topic["topic"]] = TopicShape(len(replicas), min(replicas))
        return shapes


async def close_within(closing: Coroutine[Any, Any, None], seconds: float) -> None:
    """Wait for a client to close, for a bounded time. Errors are dropped."""
    # In a task of its own: aiokafka lets stray cancellations out while a broker is away (guard B19).
    task = asyncio.ensure_future(closing)
    _, late = await asyncio.wait({task}, timeout=seconds)
    if late:
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
    if task.done() and not task.cancelled():
        task.exception()
