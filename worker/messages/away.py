"""Sentences about a server that is away. `/readyz`, the log, verbs and the console all use them."""

import os
import re
import socket
from dataclasses import dataclass

from worker.messages.hints import CheckResult

_ERRNO = re.compile(r"\[Errno (\d+)\]")


@dataclass(frozen=True, slots=True)
class Server:
    """A server, the id of the check that it can be reached, and the setting with its address."""

    name: str
    check: str
    setting: str


KAFKA = Server("Kafka", "kafka.reachable", "PASSPORT_KAFKA_BOOTSTRAP_SERVERS")
POSTGRES = Server("Postgres", "postgres.reachable", "PASSPORT_DATABASE_URL")


def unreachable(server: Server, address: str, reason: str) -> CheckResult:
    """Describe a server that nobody can connect to."""
    finding = f"{server.name} cannot be reached at {address}: {reason}"
    return CheckResult(server.check, finding, f"Start it, or correct {server.setting}.")


def silent(server: Server, address: str) -> CheckResult:
    """Describe a server that did not answer in time."""
    finding = f"{server.name} does not answer at {address}"
    return CheckResult(server.check, finding, f"Look at its log, or correct {server.setting}.")


def reason_of(error: OSError) -> str:
    """Why a connection failed, without the address: `unreachable` adds it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno).lower()
    # asyncio joins the errors of several addresses of one host into a text.
    if match := _ERRNO.search(str(error)):
        return os.strerror(int(match[1])).lower()
    return f"{type(error).__name__}: {error}"
