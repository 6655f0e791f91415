"""How a connection is protected: whether others on the way can read it, or answer in the server's place."""

import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from worker.store.sql import Connection


class Way(Enum):
    """What lies between us and a server."""

    SOCKET = "a socket of this machine"
    LOOPBACK = "loopback"
    NETWORK = "a network"


@dataclass(frozen=True, slots=True)
class Protection:
    """`is_verified`: the server had to show a certificate for its name, by an authority that we trust."""

    way: Way
    is_encrypted: bool
    is_verified: bool


def protection_of(connection: Connection) -> Protection:
    """Of a connection as it is, whatever the settings say. asyncpg has no public way to its transport."""
    transport = connection._transport  # type: ignore[union-attr]  # of the connection behind a pool's, too
    session, peer = transport.get_extra_info("ssl_object"), transport.get_extra_info("peername")
    way = way_to(peer[0]) if isinstance(peer, tuple) else _way_without_address(peer)
    if session is None:
        return Protection(way, False, False)
    context: ssl.SSLContext = session.context
    return Protection(way, True, context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname)


def _way_without_address(peer: str | None) -> Way:
    """A socket has a path, which is often empty. A connection that is lost has nothing, and is not believed."""
    return Way.NETWORK if peer is None else Way.SOCKET


def way_to(host: str) -> Way:
    """By the host's name or address alone. A name other than `localhost` may be anybody's."""
    with suppress(ValueError):
        return Way.LOOPBACK if ip_address(host.strip("[]")).is_loopback else Way.NETWORK
    return Way.LOOPBACK if host.lower() == "localhost" else Way.NETWORK
