"""The text of a place is read back as the same place, and no other text is a place."""

import pytest

from worker.domain.places import Place


@pytest.mark.parametrize("place", [Place("a", 0, 0), Place("dpp.passport.create.v1", 11, 10**18 - 1)])
def test_a_place_is_read_back_from_its_text(place: Place) -> None:
    """As text, and as the bytes of a header."""
    assert Place.parse(str(place)) == place
    assert Place.parse(str(place).encode()) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a/1",
        "/1/2",
        "a/1/2/3",
        "a/1/2 ",
        " a/1/2\n",
        "a/-1/2",
        "a/01/2",
        "a/1/02",
        "a/1/x",
        "a/\u0661/2",
        "a:1:2",
    ],
)
def test_other_text_is_no_place(text: str) -> None:
    """Leading zeros, other digits and white space are refused: no two texts name the same place."""
    assert Place.parse(text) is None


@pytest.mark.parametrize("text", [b"\xff/\xff/1", b"a/1/" + b"9" * 19, b"a/" + b"9" * 5_000 + b"/1"])
def test_a_forged_header_is_no_place(text: bytes) -> None:
    """Python refuses to read integers of over 4,300 digits, and Postgres holds offsets of 63 bits."""
    assert Place.parse(text) is None
