"""Every field of a command's body: what passes, and what is said at which path where it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worker.messages.body
from tests.unit.builders import GTIN, PRODUCT, SERIAL, body
from worker.domain.command import CreatePassport, FieldErrors, InvalidBody
from worker.domain.seeding import compact_json
from worker.messages.body import ROLES, read_body
from worker.messages.countries import ISO_3166_1_ALPHA_2

GLN = "4012345000009"
PARTY: dict[str, object] = {"legalName": "EuroBat GmbH", "gln": GLN}
PATH = "parties.importer"

HEX = "Expected 24 hexadecimal digits"
OBJECT = "Expected an object"
UNSAFE = "Expected no control characters or lone surrogates"
COUNTRY = "Expected an ISO 3166-1 alpha-2 country code in upper case"
URL = "Expected an http or https URL of at most 2048 characters"
URL_CHARACTERS = "Expected a URL without white space, control characters or lone surrogates"
UNKNOWN_ROLE = (
    "Expected one of the roles manufacturer, importer, authorisedRepresentative, distributor, recycler, "
    "producerResponsibilityOrg"
)
NOT_STRINGS: list[object] = [None, True, 7, 7.0, [], {}, ["x"], 10**4299]


def _errors(sent: dict[str, object]) -> FieldErrors:
    read = read_body(sent)
    return read.field_errors if isinstance(read, InvalidBody) else {}


def _with_party(**changes: object) -> dict[str, object]:
    party = {name: value for name, value in {**PARTY, **changes}.items() if value is not ...}
    return body(parties={"importer": party})


def test_a_plain_body_is_read() -> None:
    """Ids in lower case, nothing that was not sent."""
    assert read_body(body()) == CreatePassport(PRODUCT, GTIN, SERIAL, None, False)
    assert read_body(body(productId=PRODUCT.upper())) == CreatePassport(PRODUCT, GTIN, SERIAL, None, False)


def test_a_full_body_is_read_as_sent() -> None:
    """Known fields of every role in the order and the form in which they came; unknown fields are ignored."""
    party = {"url": "HTTPS://Example.org/ü?q", "legalName": " X ", "country": "DE", "gln": GLN, "legacyOperatorId": "1"}
    sent = body(
        parties={role: {"extra": {"a": None}, **party, "legal_name": 7} for role in reversed(ROLES)},
        confirmOverage=True,
        gs1={"gtin": GTIN, "serialNumber": "ß/ ", "serial_number": None, "\ud800": 1},
        product_id=None,
    )
    read = read_body(sent)
    assert read == CreatePassport(PRODUCT, GTIN, "ß/ ", dict.fromkeys(ROLES, party), True)
    assert isinstance(read, CreatePassport)
    assert read.parties is not None
    assert list(read.parties) == list(reversed(ROLES))
    assert list(read.parties["importer"]) == list(party)


@pytest.mark.parametrize("confirmed", [True, False])
def test_confirm_overage_is_a_json_boolean(confirmed: bool) -> None:
    """True and false are themselves."""
    read = read_body(body(confirmOverage=confirmed))
    assert isinstance(read, CreatePassport)
    assert read.confirm_overage is confirmed


@pytest.mark.parametrize("value", [None, 1, 0, "true", "", [], {}, 1.0])
def test_confirm_overage_is_never_coerced(value: object) -> None:
    """What Python would call true is not true."""
    assert _errors(body(confirmOverage=value)) == {"confirmOverage": ["Expected true or false"]}


def test_empty_parties_count_as_not_sent() -> None:
    """They are not repeated."""
    assert read_body(body(parties={})) == read_body(body())


@pytest.mark.parametrize(
    "value",
    [
        *NOT_STRINGS,
        "",
        "6650a1b2c3d4e5f6a7b8c9d",
        "6650a1b2c3d4e5f6a7b8c9d00",
        "g" * 24,
        "\uff10" * 24,
        "a" * 23 + "\n",
    ],
)
def test_product_ids_are_24_hexadecimal_digits(value: object) -> None:
    """Nothing around them, and ASCII only."""
    assert _errors(body(productId=value)) == {"productId": [HEX]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *(
            (value, "GTIN must be 14 digits")
            for value in [*NOT_STRINGS, 4012345000016, "", "4012345000016", GTIN + " "]
        ),
        ("\uff10" + GTIN[1:], "GTIN must be 14 digits"),
        ("04012345000010", "GTIN check digit is invalid"),
    ],
)
def test_gtins_have_14_digits_and_a_check_digit(value: object, message: str) -> None:
    """At `gs1.gtin`, in the contract's words."""
    assert _errors(body(gs1={"gtin": value, "serialNumber": SERIAL})) == {"gs1.gtin": [message]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *((value, "Expected a string of 1 to 100 characters") for value in NOT_STRINGS),
        ("", "Expected 1 to 100 characters"),
        ("x" * 101, "Expected 1 to 100 characters"),
        ("\0", UNSAFE),
        ("\ud800", UNSAFE),
        (".", 'Expected a serial number other than "." and ".."'),
    ],
)
def test_serial_numbers_are_strings(value: object, message: str) -> None:
    """At `gs1.serialNumber`; numbers are not turned into text."""
    assert _errors(body(gs1={"gtin": GTIN, "serialNumber": value})) == {"gs1.serialNumber": [message]}


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        ({}, {"productId": ["Required"], "gs1": ["Required"]}),
        ({"gs1": {}}, {"productId": ["Required"], "gs1.gtin": ["Required"], "gs1.serialNumber": ["Required"]}),
        (body(gs1=None), {"gs1": [OBJECT]}),
        (body(gs1=[]), {"gs1": [OBJECT]}),
        (body(gs1="x"), {"gs1": [OBJECT]}),
        (body(gs1=7), {"gs1": [OBJECT]}),
        (body(gs1={"GTIN": GTIN, "serialNumber": SERIAL}), {"gs1.gtin": ["Required"]}),
        (body(parties=None), {"parties": [OBJECT]}),
        (body(parties=[]), {"parties": [OBJECT]}),
        (body(parties=[PARTY]), {"parties": [OBJECT]}),
        (body(parties=False), {"parties": [OBJECT]}),
        (body(parties={"importer": None}), {PATH: [OBJECT]}),
        (body(parties={"importer": []}), {PATH: [OBJECT]}),
        (body(parties={"importer": "x"}), {PATH: [OBJECT]}),
        (
            body(parties={"importer": {}}),
            {f"{PATH}.legalName": ["Required"], PATH: ["Expected gln or legacyOperatorId"]},
        ),
        (body(parties={"owner": PARTY}), {"parties.owner": [UNKNOWN_ROLE]}),
        (body(parties={"Importer": None}), {"parties.Importer": [UNKNOWN_ROLE]}),
        (body(parties={"authorised_representative": PARTY}), {"parties.authorised_representative": [UNKNOWN_ROLE]}),
        (body(parties={"": PARTY, "\ud800\0": 7}), {"parties.": [UNKNOWN_ROLE], "parties.\ud800\0": [UNKNOWN_ROLE]}),
    ],
)
def test_missing_null_and_mistyped_parts_are_errors_at_their_path(sent: dict[str, object], errors: FieldErrors) -> None:
    """A missing part says "Required" at the highest missing path; null is not a missing part."""
    assert _errors(sent) == errors


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(("legalName", value, "Expected a string of 1 to 200 characters") for value in NOT_STRINGS),
        ("legalName", ..., "Required"),
        ("legalName", "", "Expected 1 to 200 characters"),
        ("legalName", "x" * 201, "Expected 1 to 200 characters"),
        ("legalName", "a\x9f", UNSAFE),
        ("legalName", "a\udc00", UNSAFE),
        *(
            ("gln", value, "GLN must be 13 digits")
            for value in [*NOT_STRINGS, "", GTIN, GLN + "\n", "\uff14" + GLN[1:]]
        ),
        ("gln", "4012345000008", "GLN check digit is invalid"),
        *(("country", value, COUNTRY) for value in [*NOT_STRINGS, "", "de", "DEU", "XX", "UK", "D\0", "\ud800"]),
        *(("legacyOperatorId", value, "Expected a string of 1 to 100 characters") for value in NOT_STRINGS),
        ("legacyOperatorId", "", "Expected 1 to 100 characters"),
        ("legacyOperatorId", "x" * 101, "Expected 1 to 100 characters"),
        ("legacyOperatorId", "\n", UNSAFE),
        *(("url", value, URL) for value in NOT_STRINGS),
        *(
            ("url", value, URL)
            for value in ["", "x", "ftp://a.eu", "javascript:1", "//a.eu", "http:a.eu", "http:/a.eu"]
        ),
        *(("url", value, URL) for value in ["http://", "http://[::1", "http://a:99999", " http://a.eu"]),
        ("url", "https://a.eu/" + "x" * 2036, URL),
        *(("url", value, URL_CHARACTERS) for value in ["http://a.eu/ ", "http://a.eu/\n", "http://a.eu/\u3000"]),
        *(("url", value, URL_CHARACTERS) for value in ["http://a.eu/\0", "http://a.eu/\ud800", "http://a\tb.eu"]),
    ],
)
def test_party_fields_are_checked(name: str, value: object, message: str) -> None:
    """Each at `parties.<role>.<field>`, also where the other identifier is there."""
    changes: dict[str, object] = {"legacyOperatorId": "1", name: value}
    assert _errors(_with_party(**changes)) == {f"{PATH}.{name}": [message]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("legalName", "x" * 200),
        ("legalName", " \u200b"),
        ("legacyOperatorId", "\U0001f600" * 100),
        ("url", "http://a.eu"),
        ("url", "HttpS://user:pw@[::1]:8080/ü?%zz#\u200b"),
        ("url", "https://a.eu/" + "x" * 2035),
        *(("country", code) for code in ("DE", "AX", "GB", "ZW")),
        ("gln", ...),
    ],
)
def test_party_fields_pass_at_their_edges(name: str, value: object) -> None:
    """The longest, the strangest, and one identifier of two."""
    changes: dict[str, object] = {"legacyOperatorId": "1", name: value}
    assert isinstance(read_body(_with_party(**changes)), CreatePassport)


def test_there_are_249_countries() -> None:
    """ISO 3166-1, officially assigned."""
    assert len(ISO_3166_1_ALPHA_2) == 249


def test_a_null_identifier_is_there_and_wrong() -> None:
    """It is an error at its own path, and not a missing one."""
    assert _errors(_with_party(gln=None)) == {f"{PATH}.gln": ["GLN must be 13 digits"]}


def test_all_fields_are_reported() -> None:
    """Every error of a body at once, each role for itself."""
    sent = {
        "productId": 7,
        "gs1": {"gtin": "1", "serialNumber": ".."},
        "parties": {"recycler": {"gln": "1"}, "owner": {}, "importer": {"legalName": "X"}, "distributor": 7},
        "confirmOverage": "yes",
    }
    assert _errors(sent) == {
        "productId": [HEX],
        "gs1.gtin": ["GTIN must be 14 digits"],
        "gs1.serialNumber": ['Expected a serial number other than "." and ".."'],
        "parties.recycler.legalName": ["Required"],
        "parties.recycler.gln": ["GLN must be 13 digits"],
        "parties.owner": [UNKNOWN_ROLE],
        "parties.importer": ["Expected gln or legacyOperatorId"],
        "parties.distributor": [OBJECT],
        "confirmOverage": ["Expected true or false"],
    }


def test_errors_stand_in_the_order_of_the_fields() -> None:
    """Whatever order was sent: a record that is answered again after an upgrade has to give the same bytes."""
    sent = {
        "confirmOverage": "yes",
        "parties": {
            "owner": {},
            "recycler": {"gln": "1"},
            "importer": {"url": "x", "country": "de"},
            "distributor": 7,
        },
        "gs1": {"serialNumber": "..", "gtin": "1"},
        "productId": 7,
    }
    assert list(_errors(sent)) == [
        "productId",
        "gs1.gtin",
        "gs1.serialNumber",
        "parties.importer.legalName",
        "parties.importer.country",
        "parties.importer.url",
        "parties.distributor",
        "parties.recycler.legalName",
        "parties.recycler.gln",
        "confirmOverage",
        "parties.owner",
        "parties.importer",
    ]


def test_errors_at_the_same_path_are_both_reported() -> None:
    """A role whose name looks like the path of a field hides nothing."""
    sent = body(parties={"importer": {"legalName": "X", "gln": "1"}, "importer.gln": {}})
    assert _errors(sent) == {f"{PATH}.gln": ["GLN must be 13 digits", UNKNOWN_ROLE]}


def _roles(*roles: str) -> dict[str, object]:
    return dict.fromkeys(roles, PARTY)


def _size(field_errors: FieldErrors) -> int:
    """Bytes of the JSON that a result has."""
    return len(compact_json(field_errors))


@pytest.mark.parametrize(
    ("sent", "reported", "last", "omitted"),
    [
        # As many short names as 8 KiB hold, at 144 to 146 bytes each.
        (body(parties=_roles(*(f"r{n:03}" for n in range(56)))), 56, "parties.r055", 0),
        (body(parties=_roles(*(f"r{n:03}" for n in reversed(range(57))))), 56, "parties.r055", 1),
        ({"parties": _roles(*(f"r{n:05}" for n in range(8000)))}, 56, "parties.r00054", 7946),
        (body(productId=7, parties=_roles(*(f"r{n:05}" for n in range(8000)))), 56, "parties.r00055", 7945),
        (
            # Paths in the middle of the order, on both sides of the cut, and one that is wrong for two reasons.
            body(parties={"importer": {}, **_roles("importer.gln", *(f"{c}{n:02}" for c in "az" for n in range(60)))}),
            57,
            "parties.a56",
            66,
        ),
        (
            body(parties={"importer": {"gln": 1}, **_roles("importer.gln", *map(str, range(200)))}),
            57,
            "parties.149",
            145,
        ),
        # Each of these characters takes six bytes as JSON, and two as UTF-8.
        (body(parties=_roles(*("\x9f" * 1000 + name for name in "abc"))), 1, "parties." + "\x9f" * 1000 + "a", 2),
        # A name that fits into no result is told of at `parties`, once.
        ({"parties": _roles("x" * 60_000)}, 3, "parties", 0),
        (body(parties=_roles("x" * 20_000, "y" * 20_000, "z")), 2, "parties.z", 1),
    ],
    ids=[
        "as many as fit",
        "one more",
        "with a missing object",
        "with a wrong id",
        "both sides",
        "one path twice",
        "escapes",
        "a name that never fits",
        "two that never fit",
    ],
)
def test_the_first_8_kib_are_reported_and_the_others_counted(
    sent: dict[str, object], reported: int, last: str, omitted: int
) -> None:
    """In the order of the paths, so that the same body always gets the same bytes. Seen to fail without the bound."""
    read = read_body(sent)
    assert isinstance(read, InvalidBody)
    paths = list(read.field_errors)
    assert (len(paths), paths[-1], read.omitted) == (reported, last, omitted)
    assert not omitted or paths == sorted(paths)
    assert _size(read.field_errors) <= 8192


def test_a_role_whose_name_never_fits_is_told_of_at_parties() -> None:
    """The name would be most of the answer; the message says what was expected, and why the name is not repeated."""
    assert _errors(body(parties=_roles("x" * 60_000))) == {
        "parties": [f"{UNKNOWN_ROLE}; got a name that is too long to be repeated"]
    }


def test_a_hundred_paths_are_reported_where_they_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other bound. Today's messages are so long that 8 KiB come first."""
    monkeypatch.setattr(worker.messages.body, "_UNKNOWN_ROLE", "x")
    for count, omitted in ((100, 0), (101, 1), (5000, 4900)):
        read = read_body(body(parties=_roles(*(f"r{n:04}" for n in range(count)))))
        assert isinstance(read, InvalidBody)
        assert (len(read.field_errors), read.omitted) == (100, omitted)


_ROLE_NAMES = [*ROLES, "a", "importer.gln", "recycler.legalName", "z", "parties."]


@given(st.lists(st.sampled_from(_ROLE_NAMES), unique=True), st.sampled_from(["MOST_FIELD_ERRORS", "MOST_BYTES"]))
def test_what_is_reported_and_what_is_omitted_are_all_that_is_wrong(roles: list[str], bound: str) -> None:
    """Whichever paths they are, and however few are reported."""
    sent: dict[str, object] = {"parties": {role: {"gln": 1} for role in roles}}
    whole = read_body(sent)
    assert isinstance(whole, InvalidBody)
    expected = sorted(whole.field_errors.items())
    for most in range(1, len(expected)):
        first = dict(expected[:most])
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(worker.messages.body, bound, most if bound == "MOST_FIELD_ERRORS" else _size(first))
            read = read_body(sent)
        assert isinstance(read, InvalidBody)
        assert list(read.field_errors.items()) == expected[:most]
        assert read.omitted == len(expected) - most
    for bound_of_all in (len(expected), _size(whole.field_errors)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(worker.messages.body, bound, max(bound_of_all, _size(whole.field_errors)))
            assert read_body(sent) == whole


def test_control_characters_are_harmless_where_nothing_is_kept() -> None:
    """Unknown fields may hold anything, at any place."""
    odd = {"\0\ud800": ["\x7f\udfff", {"": None}]}
    sent = body(gs1={"gtin": GTIN, "serialNumber": SERIAL, **odd}, parties={"importer": {**PARTY, **odd}}, **odd)
    assert isinstance(read_body(sent), CreatePassport)
