"""`--channel`: which channel a verb works on, and the settings that it gets."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.unit.signing_builders import RFC_8037
from tests.workbench import REPOSITORY, gtin, run_command
from worker.settings import Settings
from worker.testing import Passports
from worker.tools.cli.channels import again, chosen, of_partitions, serving_also
from worker.tools.cli.errors import BadUsage
from worker.tools.common.catalogue.file import parse_catalogue
from worker.tools.common.channels import channel_column, channel_of
from worker.tools.common.jwk import members_of
from worker.tools.common.signer import Signer

SAMPLE = yaml.safe_load((REPOSITORY / "deploy" / "catalogue.example.yaml").read_text())
PRODUCT, KEY = "6650a1b2c3d4e5f6a7b8c9d0", "tp_demo_eurobat_mes_1"
NOW = datetime(2026, 5, 9, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("channels", "default", "given", "name"),
    [
        ("", True, None, ""),
        ("acme,globex", True, None, ""),
        ("acme", False, None, "acme"),
        ("acme,globex", False, "globex", "globex"),
        ("acme", True, "never-listed", "never-listed"),
        ("acme", True, "", ""),
    ],
)
def test_the_channel_that_is_meant(channels: str, default: bool, given: str | None, name: str) -> None:
    """A producer's shell lists no channels, so any name will do; without one, the default channel or the only one."""
    assert chosen(Settings(channels=channels, default_channel=default), given) == name


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "expected one of acme, globex; PASSPORT_DEFAULT_CHANNEL is false"),
        ("Acme", "expected 1 to 40 letters a-z, digits and inner hyphens, got 'Acme'"),
        ("a.b", "expected 1 to 40 letters"),
        ("a\n", "expected 1 to 40 letters"),
        ("-", "expected 1 to 40 letters"),
        ("a" * 41, "expected 1 to 40 letters"),
    ],
)
def test_channels_that_are_no_channel(given: str | None, text: str) -> None:
    """And several channels, of which none is the default one."""
    with pytest.raises(BadUsage, match=f"^--channel: {text}"):
        chosen(Settings(channels="acme,globex", default_channel=False), given)


def test_a_name_that_makes_a_topic_too_long() -> None:
    """Kafka would refuse it without saying which part is too long."""
    settings = Settings(topic_created="x" * 245)
    assert chosen(settings, "abc") == "abc"
    with pytest.raises(BadUsage, match="its longest topic would have 250 characters, and Kafka takes 249"):
        chosen(settings, "abcd")


def test_settings_of_a_channel_know_its_name() -> None:
    """Also where they are asked again for the channels that they serve, as verbs over all channels do."""
    settings = Settings(channels="acme")
    acme = settings.of_channel("acme")
    assert (settings.channel, acme.channel) == ("", "acme")
    assert acme.channel_of_topic == {"acme.dpp.passport.create.v1": "acme"}
    assert settings.channel_of_topic == {"dpp.passport.create.v1": "", "acme.dpp.passport.create.v1": "acme"}
    assert [*settings.serving(["acme"]).by_commands] == ["acme.dpp.passport.create.v1"]
    assert serving_also(settings, "globex").channel_names == ("", "acme", "globex")
    assert serving_also(settings, "acme") is settings


def test_the_channel_of_a_topic() -> None:
    """Served or not; topics of other names have none."""
    settings = Settings(channels="acme")
    commands = settings.topic_commands
    topics = (commands, f"acme.{commands}", f"gone.{commands}", "old", f"a.b.{commands}", f"A.{commands}")
    assert [channel_of(settings, topic) for topic in topics] == ["", "acme", "gone", None, None, None]


def test_a_column_of_channels_only_where_there_are_some() -> None:
    """An installation without channels does not see the word."""
    assert channel_column(["", ""]) == ((), [(), ()])
    assert channel_column(["", "acme"]) == (("channel",), [("(default)",), ("acme",)])


def test_partitions_are_of_one_channel() -> None:
    """Offsets of several topics mean nothing together."""
    assert of_partitions(Settings(), "partitions", (1,)).channels == ""
    assert of_partitions(Settings(channels="acme"), "partitions", ()).channels == "acme"
    with pytest.raises(BadUsage, match="partitions: expected --channel NAME with it"):
        of_partitions(Settings(channels="acme"), "partitions", (1,))
    assert (again(None), again("acme")) == ((), ("--channel", "acme"))


def _catalogue(*channels: str) -> str:
    """The sample catalogue, whose first company may use these channels only, and has a signing key."""
    first, *others = sorted(SAMPLE["companies"], key=lambda company: company["name"] != "EuroBat GmbH")
    bound = {**first, "channels": [*channels], "signingKeys": [{"jwk": members_of(RFC_8037.public_key())}]}
    return json.dumps({**SAMPLE, "companies": [bound, *others]}, default=str)


def test_passports_for_tests_know_bound_companies() -> None:
    """As the worker does: 401 wrong-channel on another channel, without the company's id; topics have the prefix."""
    catalogue = parse_catalogue(_catalogue("acme"), ".json")
    value = json.dumps({"productId": PRODUCT, "gs1": {"gtin": gtin(0), "serialNumber": "a"}}).encode()
    headers = [("authorization", f"Bearer {KEY}")]
    default, acme = Passports(catalogue), Passports(catalogue, channel="acme")
    refused, created = default.answer(value, headers, NOW), acme.answer(value, headers, NOW)
    assert (refused.outcome, refused.body["details"]) == ("unauthorized", {"reason": "wrong-channel"})
    assert refused.header("ce_companyid") is None
    assert (created.outcome, created.topic) == ("created", "acme.dpp.passport.created.v1")
    assert created.header("ce_causationid") == "acme.dpp.passport.create.v1/0/0"
    with pytest.raises(ValueError, match="channel: expected 1 to 40 letters"):
        Passports(catalogue, channel="Acme")


def test_validate_checks_a_signature_for_its_channel(tmp_path: Path) -> None:
    """`aud` is the command topic of the channel, and the catalogue may bind the company to another."""
    value = json.dumps({"productId": PRODUCT, "gs1": {"gtin": gtin(0), "serialNumber": "a"}}).encode()
    ((_, signature),) = Signer(RFC_8037, "acme.dpp.passport.create.v1").headers(value, None, None, 1_800_000_000.0)
    file, catalogue = tmp_path / "one.json", tmp_path / "catalogue.json"
    file.write_bytes(value)

    def validated(*options: str) -> str:
        arguments = ("--signature", (signature or b"").decode(), "--at", "2027-01-15T08:00:01Z", *options)
        return run_command("validate", str(file), "--catalogue", str(catalogue), *arguments).stdout

    catalogue.write_text(_catalogue("acme"))
    assert "1 good, 0 bad" in validated("--channel", "acme")
    assert "signature-mismatch" in validated()
    catalogue.write_text(_catalogue(""))
    assert "jws-signature: wrong-channel: The company may not use the channel" in validated("--channel", "acme")
