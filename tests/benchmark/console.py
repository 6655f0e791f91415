"""`python -m tests.benchmark.console`: how long each of the console's pages takes over millions of passports."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice
from random import Random
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import App, Parameter

from tests.benchmark.catalogue import product
from tests.benchmark.commands import BenchCommand, Shape, produce_all
from tests.benchmark.figures import Figures
from tests.benchmark.growth import preload_passports
from tests.benchmark.latency import percentile
from tests.benchmark.load import make_producer
from tests.benchmark.place import Place, fresh_place
from tests.benchmark.servers import servers
from tests.benchmark.targets import print_targets
from tests.benchmark.throughput import WORKER, begin
from tests.workbench import get
from worker.tools.demo.embedded import HOST, free_port

SHAPE = Shape()
UNREADABLE = 300
WARM_UP = 20
START_SECONDS = 20.0

app = App(name="python -m tests.benchmark.console")


@app.default
def measure(
    *,
    passports: Annotated[int, Parameter(help="That were made before, and whose commands are long gone.")] = 10_000_000,
    commands: Annotated[int, Parameter(help="That are answered, and whose pages are opened.")] = 20_000,
    refusals: Annotated[int, Parameter(help="Commands that are refused before.")] = 100_000,
    loads: Annotated[int, Parameter(help="Of each page.")] = 200,
) -> None:
    """Pages are loaded one after the other, by one reader, beside a worker that has nothing to do."""
    figures = Figures()
    with servers() as found, fresh_place(found, SHAPE, 6) as place:
        if passports:
            asyncio.run(preload_passports(place.settings.database_url, passports, SHAPE))
        sent = answer(place, commands, refusals)
        load_pages(place, sent, loads, figures, passports)
    figures.print("")
    print_targets(figures)


def answer(place: Place, count: int, refusals: int) -> list[BenchCommand]:
    """The commands that were answered, behind some that are refused or cannot be read; the worker goes on."""
    with place.reader() as reader:
        begin(place, WORKER, reader)
        broken = (BenchCommand(number % place.partitions, b"{", []) for number in range(UNREADABLE))
        producer, topic = make_producer(place, linger_ms=5), place.settings.topic_commands
        produce_all(producer, topic, broken)
        produce_all(producer, topic, map(_of_an_unknown_product, place.stream(refusals)))
        sent = list(place.stream(count))
        produce_all(producer, topic, iter(sent))
        place.wait(reader, "answering", place.sent + UNREADABLE)
    return sent


def _of_an_unknown_product(command: BenchCommand) -> BenchCommand:
    return replace(command, value=json.dumps({**json.loads(command.value), "productId": "f" * 24}).encode())


def load_pages(place: Place, sent: Sequence[BenchCommand], loads: int, figures: Figures, passports: int) -> None:
    """Each page so often, of another command each time; the largest p99 is what must be small."""
    url = start_console(place)
    for name, paths in pages(url, sent, passports).items():
        for path in paths[:WARM_UP]:  # connections are made, and a broker that has just started compiles
            _milliseconds(url + path)
        found = sorted(_milliseconds(url + path) for path in islice(cycle(paths), loads))
        figures.add(f"{name}, p50", percentile(found, 0.5), "ms")
        figures.add(f"{name}, p99", percentile(found, 0.99), "ms")
    slowest = max(samples[-1] for name, samples in figures.samples.items() if name.endswith("p99"))
    figures.add("slowest page, p99", slowest, "ms")


def start_console(place: Place) -> str:
    """Its address, once it answers."""
    port = free_port()
    url, deadline = f"http://{HOST}:{port}", time.monotonic() + START_SECONDS
    place.start("worker", "console", "--port", str(port))
    while get(f"{url}/livez")[0] != 200:
        assert time.monotonic() < deadline, place.log_tail()
        time.sleep(0.1)
    return url


def pages(url: str, sent: Sequence[BenchCommand], passports: int) -> dict[str, list[str]]:
    """The paths of each kind of page."""
    told = [_answered(url, one) for one in Random(1).sample(sent, min(50, len(sent)))]
    company = product(0).company_id
    letters = json.loads(get(f"{url}/api/dead-letters")[1])["deadLetters"][:50]
    found = {
        "overview": ["/"],
        "search": ["/explain"],
        "explain by place": [one["place"] for one in told],
        "explain by key": [one["key"] for one in told],
        "explain by passport": [one["passport"] for one in told],
        "explain by serial": [one["serial"] for one in told],
        "explain an unreadable one": [_explain(one["place"]) for one in letters],
        "explain one whose command is gone": list(_preloaded(passports)),
        "refusals": ["/refusals"],
        "refusals of a company": [f"/refusals?company={company}&outcome=product-not-found"],
        "refusals that nobody had": [f"/refusals?company={company}&outcome=daily-writes-spent"],
        "dead letters": ["/dead-letters"],
        "one dead letter": [f"/dead-letters/{one['place']}" for one in letters],
        "company": [f"/company/{company}"],
    }
    return {name: paths for name, paths in found.items() if paths}


def _answered(url: str, command: BenchCommand) -> Mapping[str, str]:
    """What leads to a command, as its page by GTIN and serial number tells it."""
    body, key = json.loads(command.value), dict(command.headers)["idempotency-key"].decode()
    serial = _explain(f"{body['gs1']['gtin']} {body['gs1']['serialNumber']}")
    report: dict[str, Any] = json.loads(get(f"{url}/api{serial}")[1])
    outcome, place = report["outcome"], report["place"]
    return {
        "serial": serial,
        "place": _explain(f"{place['partition']}/{place['offset']}"),
        "key": _explain(f"{outcome['companyId']} {key}"),
        "passport": _explain(outcome["passportId"]),
    }


def _preloaded(passports: int) -> Iterator[str]:
    """By GTIN and serial number, as `growth` makes them."""
    for number in range(0, passports, max(1, passports // 50)):
        one = product(number % SHAPE.companies, number // SHAPE.companies % SHAPE.products)
        yield _explain(f"{one.gtin} PRELOADED-{number:09d}")


def _explain(asked: str) -> str:
    return f"/explain?q={quote(asked)}"


def _milliseconds(url: str) -> float:
    began = time.perf_counter()
    status, text = get(url)
    assert status == 200, text
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    app()
