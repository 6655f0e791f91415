"""What the demo's factories say, judged by the real rules: each story ends as it is meant to."""

import json
import random
from collections import Counter

from tests.workbench import REPOSITORY
from worker.tools.common.catalogue.file import parse_catalogue, read_catalogue
from worker.tools.common.catalogue.models import hash_of_key
from worker.tools.demo.makers import SHARES, catalogue_text, makers
from worker.tools.demo.script import STORIES, Command, Order, Script


def _script(seed: int = 1) -> Script:
    return Script(makers(), "run", random.Random(seed))


def _some(count: int = 3000) -> list[Command]:
    """Commands of a script that hears of every fresh one that it was created."""
    script = _script()
    commands = []
    for _ in range(count):
        command = script.next()
        commands.append(command)
        if command.story == "fresh":
            script.hear(command, "created")
    return commands


def test_packaged_catalogue_is_valid_and_knows_every_maker() -> None:
    """It loads, the keys of the factories are its keys, and each maker has a share and products of its own.

    It is also the one that `deploy/` offers, so what is written for the one works on the other.
    """
    catalogue = parse_catalogue(catalogue_text(), ".yaml")
    assert catalogue == read_catalogue(REPOSITORY / "deploy" / "catalogue.example.yaml")
    digests = {company.name: company.api_keys[0].digest for company in catalogue.companies}
    assert {maker.name: hash_of_key(maker.api_key) for maker in makers()} == digests
    assert SHARES.keys() == digests.keys()
    lines = [line for maker in makers() for line in maker.lines]
    assert len({line.gtin for line in lines}) == len(lines) == len(catalogue.products)
    assert {template.category for template in catalogue.templates} == {"battery", "textile"}


def test_all_stories_are_told_from_the_first_thousands_on() -> None:
    """About as often as they should."""
    told = Counter(command.story for command in _some())
    assert told.keys() == STORIES.keys()
    assert told["fresh"] > 0.5 * told.total()


def test_before_anything_is_made_nothing_refers_to_a_passport() -> None:
    """A replay, duplicate or foreign GTIN needs an original: the first to use a GTIN would get it for good."""
    script = _script()
    stories = {script.next().story for _ in range(500)}
    assert not stories & {"replay", "duplicate", "key reused", "foreign gtin"}


def test_replay_repeats_key_and_body_and_duplicate_only_the_body() -> None:
    """As the idempotency rules see them; the original may have been a CloudEvent."""
    originals: dict[str, Order] = {}
    for command in _some():
        order = command.order
        if command.story == "fresh" and order is not None:
            originals[order.key] = order
        elif command.story == "replay" and order is not None:
            assert json.loads(command.value or b"") == originals[order.key].body
        elif command.story == "duplicate" and order is not None:
            assert order.key not in originals
            assert order.body in [original.body for original in originals.values()]


def test_accepted_offer_is_the_same_command_confirmed() -> None:
    """Same idempotency key, and `confirmOverage: true` in the body; some offers are left."""
    script = _script()
    offered = [script.next() for _ in range(200)]
    for command in offered:
        script.hear(command, "overage-required")
    confirmed = [command for _ in range(200) if (command := script.next()).story == "confirmed"]
    assert 50 < len(confirmed) < 180
    keys = {command.order.key for command in offered if command.order}
    for command in confirmed:
        assert command.order is not None
        assert command.order.key in keys
        assert json.loads(command.value or b"")["confirmOverage"] is True


def test_strangers_are_not_answered_as_a_company() -> None:
    """Garbage and guessed keys belong to nobody, and hearing of them changes nothing."""
    strangers = [command for command in _some() if command.order is None]
    assert {command.story for command in strangers} == {"garbage", "unknown key"}
    for command in strangers:
        assert command.key is not None or command.value is not None
