"""What may go wrong, each drawn from dice, told in one line when it begins, and over when its function returns."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from confluent_kafka import KafkaException

from tests.chaos.scene import Member, Scene
from tests.chaos.stranger import fence, transactional_ids
from tests.infrastructure.kafka_proxy import (
    ADD_PARTITIONS,
    END_TXN,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    Cut,
    Deliver,
    Frame,
    pass_on,
)
from tests.infrastructure.link import Link
from tests.infrastructure.postgres import end_sessions as end_all_sessions
from worker.demo.embedded import ServerProcess

Say = Callable[[str], None]
Fault = Callable[[Scene, Random, Say], Awaitable[None]]


async def kill(scene: Scene, dice: Random, say: Say) -> None:
    """A worker dies, and comes back at once, soon, or when the other has its partitions."""
    member, seconds = dice.choice(scene.members), _soon_or_beyond(scene, dice)
    async with scene.lock(member.name):
        say(f"SIGKILL to {member.name}, back after {seconds:.1f} s")
        await member.kill()
        await asyncio.sleep(seconds)
        member.start()


async def kill_both(scene: Scene, dice: Random, say: Say) -> None:
    """Both die at nearly the same moment."""
    one, other = dice.sample(scene.members, 2)
    between, seconds = dice.uniform(0, 0.5), dice.uniform(0, 3)
    async with scene.lock("first"), scene.lock("second"):
        say(f"SIGKILL to {one.name}, {between:.1f} s later to {other.name}, back after {seconds:.1f} s")
        await one.kill()
        await asyncio.sleep(between)
        await other.kill()
        await asyncio.sleep(seconds)
        one.start()
        other.start()


async def freeze(scene: Scene, dice: Random, say: Say) -> None:
    """A worker stands still, shorter or longer than its session, and goes on as if nothing had been."""
    member, seconds = dice.choice(scene.members), _short_or_beyond(scene, dice)
    async with scene.lock(member.name):
        say(f"SIGSTOP to {member.name} for {seconds:.1f} s")
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        member.signal(signal.SIGCONT)


async def stop(scene: Scene, dice: Random, say: Say) -> None:
    """A worker is stopped in an orderly way, and started again."""
    member, seconds = dice.choice(scene.members), dice.uniform(0, 3)
    async with scene.lock(member.name):
        say(f"SIGTERM to {member.name}, back {seconds:.1f} s after its end")
        await member.stop()
        await asyncio.sleep(seconds)
        member.start()


async def guest(scene: Scene, dice: Random, say: Say) -> None:
    """A third worker joins and leaves."""
    seconds, is_killed = dice.uniform(1, 12), dice.random() < 0.5
    async with scene.lock("third"):
        say(f"third joins, {'SIGKILL' if is_killed else 'SIGTERM'} after {seconds:.1f} s")
        scene.third.start()
        await asyncio.sleep(seconds)
        await (scene.third.kill() if is_killed else scene.third.stop())


async def cut(scene: Scene, dice: Random, say: Say) -> None:
    """All connections between a worker and a server are reset, once or again and again."""
    member, (name, link), times = dice.choice(scene.members), _any_link(dice), dice.choice((1, 1, dice.randint(2, 12)))
    pauses = [dice.uniform(0.05, 1.0) for _ in range(times)]
    async with scene.lock(f"{member.name} {name}"):
        say(f"connections of {member.name} to {name} reset, {times} times within {sum(pauses):.1f} s")
        for pause in pauses:
            link(member).cut()
            await asyncio.sleep(pause)


async def silence(scene: Scene, dice: Random, say: Say) -> None:
    """The network between a worker and a server swallows requests, answers or both; later it resets, or delivers."""
    member, (name, link), seconds = dice.choice(scene.members), _any_link(dice), _short_or_beyond(scene, dice)
    what, is_reset = dice.choice(("requests", "answers", "requests and answers")), dice.random() < 0.5
    async with scene.lock(f"{member.name} {name}"):
        say(
            f"network of {member.name} to {name}: {what} swallowed for {seconds:.1f} s, "
            f"then {'reset' if is_reset else 'delivered late'}"
        )
        link(member).silence(requests="requests" in what, answers="answers" in what)
        await asyncio.sleep(seconds)
        if is_reset:
            link(member).cut()
        link(member).hear()


async def slow(scene: Scene, dice: Random, say: Say) -> None:
    """The network between a worker and a server is slow."""
    member, (name, link) = dice.choice(scene.members), _any_link(dice)
    latency, seconds = dice.uniform(0.02, 0.4), dice.uniform(3, 10)
    async with scene.lock(f"{member.name} {name}"):
        say(f"network of {member.name} to {name}: {latency * 1000:.0f} ms each way for {seconds:.1f} s")
        link(member).latency_seconds = latency
        await asyncio.sleep(seconds)
        link(member).latency_seconds = 0.0


async def late_request(scene: Scene, dice: Random, say: Say) -> None:
    """The connection breaks at requests that end a transaction, which reach the broker a little later nevertheless."""
    member, every, seconds = dice.choice(scene.members), dice.randint(1, 5), dice.uniform(1, 8)
    api_key, name = dice.choice(((END_TXN, "EndTxn"), (TXN_OFFSET_COMMIT, "TxnOffsetCommit")))
    lates: list[asyncio.Task[bytes]] = []
    seen = 0

    async def on_request(request: Frame, deliver: Deliver) -> None:
        nonlocal seen
        if request.api_key == api_key:
            seen += 1
            if seen % every == 0:
                lates.append(asyncio.create_task(_later(deliver, dice.uniform(0.005, 0.25))))
                raise Cut

    async with scene.lock(f"{member.name} Kafka"):
        say(f"every {every}. {name} of {member.name} cut and delivered 5 to 250 ms later, for {seconds:.1f} s")
        member.proxy.on_request = on_request
        await asyncio.sleep(seconds)
        member.proxy.on_request = pass_on
        await asyncio.gather(*lates, return_exceptions=True)


async def in_transaction(scene: Scene, dice: Random, say: Say) -> None:
    """A worker dies or stands still when it sends a request of a transaction, which arrives at once or a session later.

    Then it is a zombie in the midst of a transaction, which the other has to fence.
    """
    member, seconds, is_killed = dice.choice(scene.members), _soon_or_beyond(scene, dice), dice.random() < 0.4
    api_key, name = dice.choice(tuple(_OF_TRANSACTIONS.items()))
    late = dice.choice((0.0, dice.uniform(0, 0.5), scene.session_seconds + dice.uniform(0, 4)))
    is_reached = asyncio.Event()
    lates: list[asyncio.Future[object]] = []

    async def on_request(request: Frame, deliver: Deliver) -> None:
        if request.api_key == api_key and not is_reached.is_set():
            member.signal(signal.SIGKILL if is_killed else signal.SIGSTOP)
            is_reached.set()
            lates.append(asyncio.ensure_future(_later(deliver, late) if is_killed else asyncio.sleep(late)))
            if is_killed:  # nobody is left at the other end of this connection
                raise Cut
            await asyncio.wait(lates)

    async with scene.lock(member.name), scene.lock(f"{member.name} Kafka"):
        say(
            f"{'SIGKILL' if is_killed else 'SIGSTOP'} to {member.name} at {name}, which arrives {late:.1f} s later, "
            f"for {seconds:.1f} s"
        )
        member.proxy.on_request = on_request
        with suppress(TimeoutError):
            await asyncio.wait_for(is_reached.wait(), _REQUEST_SECONDS)
            if is_killed:
                await member.kill()
            await asyncio.sleep(seconds)
        member.signal(signal.SIGCONT)
        member.start()
        member.proxy.on_request = pass_on
        await asyncio.gather(*lates, return_exceptions=True)


_OF_TRANSACTIONS = {
    ADD_PARTITIONS: "AddPartitionsToTxn",
    PRODUCE: "Produce",
    TXN_OFFSET_COMMIT: "TxnOffsetCommit",
    END_TXN: "EndTxn",
}
_REQUEST_SECONDS = 10.0
"""So long such a request is waited for: the worker may have no partition at the time."""


async def kill_kafka(scene: Scene, dice: Random, say: Say) -> None:
    """The broker crashes and comes back."""
    await _kill("Kafka", scene.kafka, dice.choice((0.0, dice.uniform(0, 8))), scene, say)


async def freeze_kafka(scene: Scene, dice: Random, say: Say) -> None:
    """The broker stands still."""
    await _freeze("Kafka", scene.kafka, _short_or_beyond(scene, dice), scene, say)


async def kill_postgres(scene: Scene, dice: Random, say: Say) -> None:
    """The database crashes and comes back."""
    await _kill("PostgreSQL", scene.postgres, _soon_or_beyond(scene, dice), scene, say)


async def freeze_postgres(scene: Scene, dice: Random, say: Say) -> None:
    """The database stands still."""
    await _freeze("PostgreSQL", scene.postgres, _short_or_beyond(scene, dice), scene, say)


async def _kill(name: str, server: ServerProcess, seconds: float, scene: Scene, say: Say) -> None:
    async with scene.lock(name):
        say(f"SIGKILL to {name}, back after {seconds:.1f} s and its start")
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)


async def _freeze(name: str, server: ServerProcess, seconds: float, scene: Scene, say: Say) -> None:
    async with scene.lock(name):
        say(f"SIGSTOP to {name} for {seconds:.1f} s")
        server.freeze()
        await asyncio.sleep(seconds)
        server.thaw()


async def end_sessions(scene: Scene, dice: Random, say: Say) -> None:
    """An administrator ends all sessions with the database."""
    times = dice.choice((1, 1, 3))
    async with scene.lock("PostgreSQL"):
        say(f"all sessions with PostgreSQL ended, {times} times")
        for _ in range(times):
            await end_all_sessions(scene.bench.settings.database_url)
            await asyncio.sleep(dice.uniform(0, 1))


async def stranger(scene: Scene, dice: Random, say: Say) -> None:
    """Somebody takes over some of the newest transactional ids of the workers."""
    async with scene.lock("Kafka"):
        ids = await transactional_ids([scene.kafka.port], f"{scene.bench.settings.group_id}.")
        newest = ids[-6:]
        taken = dice.sample(newest, min(len(newest), dice.randint(1, 3)))
        say(f"InitProducerId by a stranger for {len(taken)} of the workers' {len(ids)} transactional ids")
        for one in taken:
            with suppress(KafkaException):  # a worker was quicker
                await asyncio.to_thread(fence, scene.kafka.bootstrap_servers, one)


FAULTS: dict[str, tuple[Fault, int]] = {
    "kill": (kill, 2),
    "kill both": (kill_both, 1),
    "freeze": (freeze, 3),
    "stop": (stop, 1),
    "guest": (guest, 1),
    "cut": (cut, 2),
    "silence": (silence, 4),
    "slow": (slow, 1),
    "late request": (late_request, 2),
    "in transaction": (in_transaction, 5),
    "kill Kafka": (kill_kafka, 1),
    "freeze Kafka": (freeze_kafka, 1),
    "kill PostgreSQL": (kill_postgres, 1),
    "freeze PostgreSQL": (freeze_postgres, 1),
    "end sessions": (end_sessions, 1),
    "stranger": (stranger, 1),
}
"""Each kind, and how many of it are in a deck of 28."""


def deal(dice: Random, count: int, kinds: tuple[str, ...]) -> list[str]:
    """So many kinds of faults, from one shuffled deck after the other."""
    dealt: list[str] = []
    while len(dealt) < count:
        deck = [kind for kind in kinds for _ in range(FAULTS[kind][1])]
        dice.shuffle(deck)
        dealt += deck
    return dealt[:count]


def _soon_or_beyond(scene: Scene, dice: Random) -> float:
    """Seconds: none, a few, or more than a session lasts."""
    return dice.choice((0.0, dice.uniform(0, 3), scene.session_seconds + dice.uniform(0, 4)))


def _short_or_beyond(scene: Scene, dice: Random) -> float:
    """Seconds: some, or more than a session lasts."""
    return dice.choice((dice.uniform(0.5, 3), scene.session_seconds + dice.uniform(0.5, 6)))


def _any_link(dice: Random) -> tuple[str, Callable[[Member], Link]]:
    """Between a worker and one of the servers."""
    links: tuple[tuple[str, Callable[[Member], Link]], ...] = (
        ("Kafka", lambda member: member.kafka),
        ("Kafka", lambda member: member.kafka),
        ("PostgreSQL", lambda member: member.postgres),
    )
    return dice.choice(links)


async def _later(deliver: Deliver, seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return await deliver()
