"""What settings say of themselves, and what they keep to themselves."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.workbench import REPOSITORY
from worker.settings import VARIABLES, Settings
from worker.store.address import place_of
from worker.tools.cli.main import main
from worker.tools.cli.settings_list import unknown_variables

HIDDEN = "an address that cannot be shown without its password"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://localhost/passports", "localhost:5432/passports"),
        ("postgresql://worker:hunter2@db.example.com:5432/passports", "db.example.com:5432/passports"),
        ("postgresql://worker:hunter2@a:1,b:2/x?target_session_attrs=any&password=hunter2", "a:1,b:2/x"),
        ("postgres://worker@[::1]:5432/x", "::1:5432/x"),
        ("postgresql:///x?host=/run", "/run/.s.PGSQL.5432/x"),
        ("postgresql://worker:hunter2", HIDDEN),
        ("postgresql://worker:hun/ter2@db/x", HIDDEN),
        ("postgresql://worker:hun#ter2@db/x", HIDDEN),
        ("postgresql://worker:hun?ter2@db/x", HIDDEN),
        ("postgresql://worker:123?ter2@db/x", HIDDEN),
        ("postgresql://worker:hun@ter2@db/x", HIDDEN),
        ("postgresql://worker:hunter2@:badport/x", HIDDEN),
        ("postgresql://" + "a" * 5_000 + "@a@", HIDDEN),
    ],
)
def test_a_database_is_shown_by_its_place_alone(url: str, place: str) -> None:
    """Where the password may begin elsewhere than it seems, nothing is shown."""
    assert place_of(url) == place
    assert "hun" not in place


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without any setting, to begin with."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def _listed(capsys: pytest.CaptureFixture[str]) -> tuple[object, dict[str, str], str]:
    """Exit code, the line of each setting by its name, and all output."""
    with pytest.raises(SystemExit) as ended:
        main(["settings"])
    out, err = capsys.readouterr()
    lines = dict(line.split(": ", 1) for line in out.splitlines() if line.startswith("PASSPORT_"))
    return ended.value.code, lines, out + err


def test_each_setting_is_listed_with_what_it_is_for(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its default, where nothing else was set."""
    code, lines, output = _listed(capsys)
    assert (code, list(lines)) == (0, list(VARIABLES))
    assert all(line.endswith(" (default)") for line in lines.values())
    for field in Settings.model_fields.values():
        assert field.description is not None
        assert f"\n    {field.description}\n" in output


def test_the_source_of_a_value_is_told_and_no_secret_is_shown(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password is hidden; a URL is shown without what stands before its `@`, or not at all."""
    environment.setenv("PASSPORT_GROUP_ID", "mine")
    environment.setenv("PASSPORT_KAFKA_SASL_PASSWORD", "hunter2")
    environment.setenv("PASSPORT_DATABASE_URL", "postgresql://w:hunter2@db:5432/x")
    environment.setenv("PASSPORT_OAUTH_JWKS", "https://w:hunter2@keys/jwks")
    environment.setenv("PASSPORT_OAUTH_ISSUER", "https://issuer")
    environment.setenv("PASSPORT_OAUTH_AUDIENCE", "passports")
    code, lines, output = _listed(capsys)
    assert code == 0
    assert lines["PASSPORT_GROUP_ID"] == "mine (environment; default passport-worker)"
    assert lines["PASSPORT_KAFKA_SASL_PASSWORD"] == "hidden (environment; default not set)"
    assert lines["PASSPORT_DATABASE_URL"] == "db:5432/x (environment; default localhost:5432/passports)"
    assert lines["PASSPORT_OAUTH_JWKS"] == "hidden (environment; default not set)"
    assert "hunter2" not in output


def test_bad_settings_are_listed_with_the_others(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is wrong and without the value; exit 2."""
    environment.setenv("PASSPORT_DATABASE_URL", "mysql://w:hunter2@db/x")
    environment.setenv("PASSPORT_KAFKA_BOOTSTRAP_SERVERS", "localhost:port")
    environment.setenv("PASSPORT_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    environment.setenv("PASSPORT_GROUP_ID", "mine")
    code, lines, output = _listed(capsys)
    assert (code, list(lines)) == (2, list(VARIABLES))
    assert lines["PASSPORT_DATABASE_URL"].startswith("BAD, ")
    assert lines["PASSPORT_KAFKA_BOOTSTRAP_SERVERS"].startswith("BAD, expected host:port")
    assert lines["PASSPORT_KAFKA_SASL_PASSWORD"] == "BAD, expected with a SASL security protocol (default)"
    assert lines["PASSPORT_GROUP_ID"].startswith("mine ")
    assert "hunter2" not in output


@pytest.mark.parametrize("port", ["9090", "x"])
def test_settings_as_json(port: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A document that fits its schema; bad settings are its problems, without their values."""
    environment.setenv("PASSPORT_HTTP_PORT", port)
    environment.setenv("PASSPORT_KAFKA_SASL_PASSWORD", "hunter2")
    with pytest.raises(SystemExit) as ended:
        main(["settings", "--json"])
    report = json.loads(output := capsys.readouterr().out)
    schema = json.loads((REPOSITORY / "schemas" / "operations" / "settings.json").read_text())
    Draft202012Validator(schema).validate(report)
    is_good = port == "9090"
    assert (ended.value.code, report["ok"]) == ((0, True) if is_good else (2, False))
    settings = {setting["variable"]: setting for setting in report["settings"]}
    assert list(settings) == list(VARIABLES)
    assert settings["PASSPORT_HTTP_PORT"]["value"] == ("9090" if is_good else None)
    assert settings["PASSPORT_HTTP_PORT"]["source"] == "environment"
    assert settings["PASSPORT_OAUTH_JWKS"]["value"] is None
    assert [problem["text"].partition(":")[0] for problem in report["problems"]] == (
        [] if is_good else ["PASSPORT_HTTP_PORT"]
    )
    assert "hunter2" not in output


def test_a_value_that_is_no_utf8_is_listed_with_the_others(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell hands over the name of a file of an older system, with an escape for each of its bytes.

    Seen to fail before: `settings --json` ended with PydanticSerializationError, and listed nothing.
    """
    environment.setenv("PASSPORT_OAUTH_JWKS", "/etc/schl\udcfcssel.json")
    environment.setenv("PASSPORT_OAUTH_ISSUER", "https://issuer")
    environment.setenv("PASSPORT_OAUTH_AUDIENCE", "passports")
    with pytest.raises(SystemExit) as ended:
        main(["settings", "--json"])
    settings = {setting["variable"]: setting for setting in json.loads(capsys.readouterr().out)["settings"]}
    assert (ended.value.code, settings["PASSPORT_OAUTH_JWKS"]["value"]) == (0, "/etc/schl\\udcfcssel.json")


@pytest.mark.parametrize("servers", ["localhost:port", "a:1,", "PLAINTEXT://a:1", "a b", "", "a:123456"])
def test_servers_that_nobody_could_mean_are_bad(servers: str) -> None:
    """Seen to fail without the check: `run` waited for them for ever."""
    with pytest.raises(ValueError, match="expected host:port"):
        Settings(kafka_bootstrap_servers=servers)


@pytest.mark.parametrize("servers", ["a:99999", "a:65536", "a:0", "a:9092,b:70000", "[::1]:99999"])
def test_servers_have_ports_that_exist(servers: str) -> None:
    """Seen to fail before: `run` asked port 34463 in place of 99999, and waited for it for ever."""
    with pytest.raises(ValueError, match="expected host:port with a port from 1 to 65535"):
        Settings(kafka_bootstrap_servers=servers)


@pytest.mark.parametrize("end", [" ", "\n", "\t/x", " q", "?", "#", "?a=b", "#a"])
def test_a_link_base_has_nothing_that_spoils_a_link(end: str) -> None:
    """Seen to fail before, as with the line break of a file: it stood in each link, and passports never change."""
    with pytest.raises(ValueError, match="expected an http or https URL without query, fragment and white space"):
        Settings(digital_link_base=f"https://id.example/p{end}")


def test_no_topic_of_the_default_channel_is_one_of_another_channel() -> None:
    """Seen to fail before: created passports were published as commands of that channel, for ever."""
    both: dict[str, Any] = {"channels": "b, acme", "topic_created": "acme.dpp.passport.create.v1"}
    with pytest.raises(ValueError, match=r"topic_created\n +expected a topic of its own"):
        Settings(**both)
    own = Settings(**both | {"default_channel": "false"})
    assert len({*own.topics_of_channels}) == len(own.topics_of_channels)


def test_a_topic_may_have_the_longest_name_of_kafka() -> None:
    """Seen to fail before: the dot behind the name of a channel counted where there was no channel."""
    assert Settings(topic_created="c" * 249).channel_names == ("",)
    with pytest.raises(ValueError, match="249 characters at most, and the longest has 251"):
        Settings(topic_created="c" * 249, channels="a")


@pytest.mark.parametrize("servers", ["localhost", "a:1", "a-b.c_d:9092, 10.0.0.1:9093", "[::1]:9092", "::1"])
def test_servers_in_all_their_forms_are_good(servers: str) -> None:
    """As the client library takes them."""
    assert Settings(kafka_bootstrap_servers=servers).kafka_bootstrap_servers == servers


@pytest.mark.parametrize("currency", ["eur", "EURO", "E1R", "€", ""])
def test_a_currency_has_its_three_letters(currency: str) -> None:
    """Seen by people only, so any three letters will do."""
    assert Settings(currency="CHF").currency == "CHF"
    with pytest.raises(ValueError, match="expected three upper-case letters of ISO 4217, such as EUR"):
        Settings(currency=currency)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("PASSPORT_TOPIC_COMANDS", "PASSPORT_TOPIC_COMMANDS"),
        ("passport_kafka_bootstrap_server", "PASSPORT_KAFKA_BOOTSTRAP_SERVERS"),
        ("PASSPORT_DB_URL", "PASSPORT_DATABASE_URL"),
        ("PASSPORT_", None),
        ("PASSPORT_XYZ", None),
    ],
)
def test_variables_that_look_like_settings_are_told_with_the_nearest(variable: str, nearest: str | None) -> None:
    """Seen to fail before: they were ignored in silence."""
    assert list(unknown_variables({variable: "x"})) == [(variable, nearest)]


def test_other_variables_are_nobodys_mistake() -> None:
    """Settings in any case, those of the tests, the API key of the README's programs, and what is not ours at all."""
    names = [*VARIABLES, "passport_group_id", "PASSPORT_TEST_DATABASE_URL", "PASSPORT_API_KEY", "PASSPORTS_DB", "PATH"]
    assert list(unknown_variables(dict.fromkeys(names, "x"))) == []


@pytest.mark.parametrize(("given", "audience"), [(None, "t"), ("", "t"), ("eu-1", "eu-1")])
def test_signatures_are_for_the_command_topic_unless_another_audience_is_set(given: str | None, audience: str) -> None:
    """As with the dead-letter topic, an empty text is none."""
    assert Settings(topic_commands="t", signature_audience=given).audience == audience
