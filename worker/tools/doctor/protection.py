"""How connections are protected: whether others can read them on the way, or pose as the server."""

import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from aiokafka.conn import collect_hosts

from worker.settings import Settings
from worker.store.sql import Connection
from worker.stream.aiokafka_internals import MetadataRequest
from worker.stream.cluster.connection import Cluster


class Way(Enum):
    """The way between this process and a server."""

    SOCKET = "a socket of this machine"
    LOOPBACK = "loopback"
    NETWORK = "a network"


@dataclass(frozen=True, slots=True)
class Protection:
    """`is_verified`: the server had to show a certificate for its name, by an authority that we trust."""

    way: Way
    is_encrypted: bool
    is_verified: bool


def way_to(host: str) -> Way:
    """The way to a host, judged by its name or address. A name other than `localhost` may belong to anybody."""
    with suppress(ValueError):
        return Way.LOOPBACK if ip_address(host.strip("[]")).is_loopback else Way.NETWORK
    return Way.LOOPBACK if host.lower() == "localhost" else Way.NETWORK


def protection_of(connection: Connection) -> Protection:
    """The actual protection of a connection, whatever the settings say."""
    # asyncpg has no public way to its transport.
    transport = connection._transport  # type: ignore[union-attr]  # of the connection behind a pool's, too
    session, peer = transport.get_extra_info("ssl_object"), transport.get_extra_info("peername")
    # A socket has a path, which is often empty. A lost connection has no peer, and is not trusted.
    without_address = Way.NETWORK if peer is None else Way.SOCKET
    way = way_to(peer[0]) if isinstance(peer, tuple) else without_address
    if session is None:
        return Protection(way, False, False)
    context: ssl.SSLContext = session.context
    return Protection(way, True, context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname)


async def protection_of_brokers(cluster: Cluster, settings: Settings) -> Protection:
    """The protection of connections to brokers, from the settings and the brokers' addresses. Raises `CLUSTER_ERRORS`.

    With TLS every broker has to prove its name; no setting switches that off.
    """
    hosts = {host for host, _, _ in collect_hosts(settings.kafka_bootstrap_servers, randomize=False)}
    # Clients connect to the advertised addresses. A forwarded port on loopback may lead to brokers elsewhere.
    hosts |= {broker["host"] for broker in (await cluster.ask(MetadataRequest([]))).to_object()["brokers"]}
    way = Way.LOOPBACK if all(way_to(host) is Way.LOOPBACK for host in hosts) else Way.NETWORK
    is_encrypted = settings.kafka_security_protocol.endswith("SSL")
    return Protection(way, is_encrypted, is_encrypted)
