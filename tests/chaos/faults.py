"""What may go wrong, each drawn from dice, told in one line when it begins, and over when its function returns."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from random import Random

from confluent_kafka import KafkaException

from tests.chaos.scene import Member, Scene
from tests.chaos.stranger import fence, transactional_ids
from tests.infrastructure.administration import ReassignmentRefused
from tests.infrastructure.kafka_proxy import (
    ADD_PARTITIONS,
    END_TXN,
    FIND_COORDINATOR,
    LIST_OFFSETS,
    METADATA,
    OFFSET_FETCH,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    Cut,
    Deliver,
    Frame,
    pass_on,
)
from tests.infrastructure.link import Link
from tests.infrastructure.postgres import end_sessions as end_all_sessions
from worker.tools.demo.embedded import ServerProcess

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


async def stutter(scene: Scene, dice: Random, say: Say) -> None:
    """A worker stands still for a moment, many times a second, as on a machine that has too much to do."""
    member, seconds = dice.choice(scene.members), dice.uniform(3, 10)
    async with scene.lock(member.name):
        say(f"{member.name} stutters for {seconds:.1f} s")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            member.signal(signal.SIGSTOP)
            await asyncio.sleep(dice.uniform(0.05, 0.4))
            member.signal(signal.SIGCONT)
            await asyncio.sleep(dice.uniform(0.01, 0.1))


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
    way, times = _any_way(scene, dice), dice.choice((1, 1, dice.randint(2, 12)))
    pauses = [dice.uniform(0.05, 1.0) for _ in range(times)]
    async with scene.lock(way.lock):
        say(f"connections of {way.name} reset, {times} times within {sum(pauses):.1f} s")
        for pause in pauses:
            for link in way.links:
                link.cut()
            await asyncio.sleep(pause)


async def silence(scene: Scene, dice: Random, say: Say) -> None:
    """The network between a worker and a server swallows requests, answers or both; later it resets, or delivers."""
    what = dice.choice(("requests", "answers", "requests and answers"))
    await _silence(_any_way(scene, dice), what, scene, dice, say)


async def one_way(scene: Scene, dice: Random, say: Say) -> None:
    """One broker is out of one worker's reach in one direction, and in reach of everybody else.

    Half the time it leads nothing just then, and sessions with Postgres end meanwhile: so lanes open anew without the
    broker, while questions to it are not answered.
    """
    what, node, is_idle = dice.choice(("requests", "answers")), dice.choice(scene.kafka.nodes), dice.random() < 0.5
    way = _way_to_broker(dice.choice(scene.members), node)
    if is_idle:
        await _relieve(scene, node, say)
        await asyncio.gather(_silence(way, what, scene, dice, say), _end_sessions_soon(scene, dice, say))
    else:
        await _silence(way, what, scene, dice, say)


async def _silence(way: "_Way", what: str, scene: Scene, dice: Random, say: Say) -> None:
    seconds, is_reset = _short_or_beyond(scene, dice), dice.random() < 0.5
    async with scene.lock(way.lock):
        say(
            f"network of {way.name}: {what} swallowed for {seconds:.1f} s, "
            f"then {'reset' if is_reset else 'delivered late'}"
        )
        for link in way.links:
            link.silence(requests="requests" in what, answers="answers" in what)
        await asyncio.sleep(seconds)
        for link in way.links:
            if is_reset:
                link.cut()
            link.hear()


async def slow(scene: Scene, dice: Random, say: Say) -> None:
    """The network between a worker and a server is slow."""
    way, latency, seconds = _any_way(scene, dice), dice.uniform(0.02, 0.4), dice.uniform(3, 10)
    async with scene.lock(way.lock):
        say(f"network of {way.name}: {latency * 1000:.0f} ms each way for {seconds:.1f} s")
        for link in way.links:
            link.latency_seconds = latency
        await asyncio.sleep(seconds)
        for link in way.links:
            link.latency_seconds = 0.0


async def late_answers(scene: Scene, dice: Random, say: Say) -> None:
    """Some answers to questions of one kind come late to a worker; half the time Postgres sessions end meanwhile.

    Questions to other brokers, or over other connections, are answered, so that a worker may have gone on meanwhile.
    """
    member, late, seconds = dice.choice(scene.members), dice.uniform(0.3, 14), dice.uniform(3, 15)
    (name, api_key), every = dice.choice(tuple(_QUESTIONS.items())), dice.randint(1, 4)
    async with scene.lock(f"{member.name} Kafka"):
        say(f"every {every}. answer to {name} comes {late:.1f} s late to {member.name}, for {seconds:.1f} s")
        member.kafka.make_late({api_key: late}, every)
        if dice.random() < 0.5:
            await _end_sessions_soon(scene, dice, say)
        await asyncio.sleep(seconds)
        member.kafka.make_late({})
        await asyncio.sleep(late)  # the last of them is still under way


_QUESTIONS = {
    "Metadata": METADATA,
    "FindCoordinator": FIND_COORDINATOR,
    "ListOffsets": LIST_OFFSETS,
    "OffsetFetch": OFFSET_FETCH,
}


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
        member.kafka.on_request(on_request)
        await asyncio.sleep(seconds)
        member.kafka.on_request(pass_on)
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
        member.kafka.on_request(on_request)
        with suppress(TimeoutError):
            await asyncio.wait_for(is_reached.wait(), _REQUEST_SECONDS)
            if is_killed:
                await member.kill()
            await asyncio.sleep(seconds)
        member.signal(signal.SIGCONT)
        member.start()
        member.kafka.on_request(pass_on)
        await asyncio.gather(*lates, return_exceptions=True)


_OF_TRANSACTIONS = {
    ADD_PARTITIONS: "AddPartitionsToTxn",
    PRODUCE: "Produce",
    TXN_OFFSET_COMMIT: "TxnOffsetCommit",
    END_TXN: "EndTxn",
}
_REQUEST_SECONDS = 10.0
"""So long such a request is waited for: the worker may have no partition at the time."""


async def kill_broker(scene: Scene, dice: Random, say: Say) -> None:
    """A broker crashes and comes back; the other two go on, when the controller has noticed."""
    broker = dice.choice(scene.kafka.brokers)
    await _kill("Kafka", f"broker {broker.node_id}", broker, dice.choice((0.0, dice.uniform(0, 8))), scene, say)


async def freeze_broker(scene: Scene, dice: Random, say: Say) -> None:
    """A broker stands still, for as long as the others take it for alive, or longer."""
    broker = dice.choice(scene.kafka.brokers)
    await _freeze("Kafka", f"broker {broker.node_id}", broker, _short_or_beyond(scene, dice), scene, say)


async def hiccup(scene: Scene, dice: Random, say: Say) -> None:
    """A broker stands still for a moment, and meanwhile all sessions with Postgres end.

    Half the time it leads nothing just then, so that lanes can open without it.
    """
    broker, seconds, is_idle = dice.choice(scene.kafka.brokers), dice.uniform(0.3, 3), dice.random() < 0.5
    async with scene.lock("Kafka"):
        if is_idle:
            await _relieve(scene, broker.node_id, say)
        say(f"SIGSTOP to broker {broker.node_id} for {seconds:.1f} s")
        broker.freeze()
        await asyncio.gather(asyncio.sleep(seconds), _end_sessions_soon(scene, dice, say))
        broker.thaw()


async def _relieve(scene: Scene, node: int, say: Say) -> None:
    if len(scene.kafka.nodes) == 1:  # it always leads everything
        return
    say(f"broker {node} leads nothing from now on")
    with suppress(*_NOT_MOVED):
        await scene.kafka.relieve(node, *scene.topics)


async def move_leaders(scene: Scene, dice: Random, say: Say) -> None:
    """Some partitions of a topic of the workers get other leaders."""
    await _move(dice.choice(scene.topics[:-2]), scene, dice, say)


async def move_coordinators(scene: Scene, dice: Random, say: Say) -> None:
    """Groups, or transactions, get other coordinators."""
    await _move(dice.choice(scene.topics[-2:]), scene, dice, say)


async def _move(topic: str, scene: Scene, dice: Random, say: Say) -> None:
    """A broker may be away just now: then nothing moves, or only what can."""
    to, share = dice.choice(scene.kafka.nodes), dice.choice((0.3, 0.6, 1.0))
    async with scene.lock(f"leaders of {topic}"):
        say(f"{share:.0%} of {topic} led by broker {to} from now on")
        with suppress(*_NOT_MOVED):
            partitions = await asyncio.to_thread(scene.kafka.leaders, topic)
            await scene.kafka.move(topic, to, {partition for partition in partitions if dice.random() < share})


_NOT_MOVED = (KafkaException, OSError, TimeoutError, ReassignmentRefused, asyncio.IncompleteReadError)


async def kill_postgres(scene: Scene, dice: Random, say: Say) -> None:
    """The database crashes and comes back."""
    await _kill("PostgreSQL", "PostgreSQL", scene.postgres, _soon_or_beyond(scene, dice), scene, say)


async def freeze_postgres(scene: Scene, dice: Random, say: Say) -> None:
    """The database stands still."""
    await _freeze("PostgreSQL", "PostgreSQL", scene.postgres, _short_or_beyond(scene, dice), scene, say)


async def _kill(lock: str, name: str, server: ServerProcess, seconds: float, scene: Scene, say: Say) -> None:
    async with scene.lock(lock):
        say(f"SIGKILL to {name}, back after {seconds:.1f} s and its start")
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.start)


async def _freeze(lock: str, name: str, server: ServerProcess, seconds: float, scene: Scene, say: Say) -> None:
    async with scene.lock(lock):
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


async def _end_sessions_soon(scene: Scene, dice: Random, say: Say) -> None:
    """When some questions have been asked that are not answered yet."""
    await asyncio.sleep(dice.uniform(0, 2))
    await end_sessions(scene, dice, say)


async def stranger(scene: Scene, dice: Random, say: Say) -> None:
    """Somebody takes over some of the newest transactional ids of the workers."""
    async with scene.lock("Kafka"):
        ids = await transactional_ids(
            [broker.port for broker in scene.kafka.brokers], f"{scene.bench.settings.group_id}."
        )
        newest = ids[-6:]
        taken = dice.sample(newest, min(len(newest), dice.randint(1, 3)))
        say(f"InitProducerId by a stranger for {len(taken)} of the workers' {len(ids)} transactional ids")
        for one in taken:
            with suppress(KafkaException):  # a worker was quicker
                await asyncio.to_thread(fence, scene.kafka.bootstrap_servers, one)


async def forget_group(scene: Scene, dice: Random, say: Say) -> None:
    """All workers die, and an administrator deletes their group with its offsets before they come back."""
    group = scene.bench.settings.group_id
    async with AsyncExitStack() as locks:
        for what in ("first", "second", "third", "Kafka"):
            await locks.enter_async_context(scene.lock(what))
        say("SIGKILL to all workers, their group deleted")
        for member in scene.everybody:
            await member.kill()
        async with asyncio.timeout(scene.session_seconds + _GROUP_SECONDS):
            while not await asyncio.to_thread(scene.kafka.delete_group, group):  # noqa: ASYNC110
                await asyncio.sleep(0.3)
        for member in scene.members:
            member.start()


_GROUP_SECONDS = 20.0
"""So long a group may take to notice that its members are gone, once their sessions are over."""


FAULTS: dict[str, tuple[Fault, int]] = {
    "kill": (kill, 2),
    "kill both": (kill_both, 1),
    "freeze": (freeze, 3),
    "stutter": (stutter, 2),
    "stop": (stop, 1),
    "guest": (guest, 1),
    "cut": (cut, 2),
    "silence": (silence, 4),
    "one way": (one_way, 2),
    "slow": (slow, 1),
    "late answers": (late_answers, 4),
    "late request": (late_request, 2),
    "in transaction": (in_transaction, 5),
    "kill broker": (kill_broker, 1),
    "freeze broker": (freeze_broker, 2),
    "hiccup": (hiccup, 5),
    "kill PostgreSQL": (kill_postgres, 1),
    "freeze PostgreSQL": (freeze_postgres, 1),
    "end sessions": (end_sessions, 1),
    "stranger": (stranger, 1),
    "move leaders": (move_leaders, 1),
    "move coordinators": (move_coordinators, 1),
    "forget group": (forget_group, 1),
}
"""Each kind, and how many of it are in a deck."""
OF_SEVERAL_BROKERS = ("move leaders", "move coordinators")
"""Those that a single broker cannot have."""


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


@dataclass(frozen=True)
class _Way:
    """The network between a worker and a server, or all brokers."""

    name: str
    lock: str
    links: Collection[Link]


def _any_way(scene: Scene, dice: Random) -> _Way:
    member = dice.choice(scene.members)
    match dice.choice(("all brokers", "a broker", "PostgreSQL")):
        case "all brokers":
            return _Way(f"{member.name} to Kafka", f"{member.name} Kafka", member.kafka.links.values())
        case "a broker":
            return _way_to_broker(member, dice.choice(scene.kafka.nodes))
    return _Way(f"{member.name} to PostgreSQL", f"{member.name} PostgreSQL", [member.postgres])


def _way_to_broker(member: Member, node: int) -> _Way:
    return _Way(f"{member.name} to broker {node}", f"{member.name} Kafka", [member.kafka.links[node]])


async def _later(deliver: Deliver, seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return await deliver()
