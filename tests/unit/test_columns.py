"""Columns as single arguments: what Postgres takes apart again has to be what was put together."""

import pytest

from worker.store.columns import BETWEEN, hashes, integers, optional_texts, texts


@pytest.mark.parametrize("column", [["a"], ["a", "b c", "ü,{}\\\"'"], ["\x1e", "\x20"]])
def test_texts_are_taken_apart_again(column: list[str]) -> None:
    """Whatever else they hold."""
    assert texts(column).split(BETWEEN) == column


def test_there_may_be_none() -> None:
    """Postgres makes an empty array of it."""
    assert (texts([]), optional_texts([]), integers([]), hashes([])) == ("", "", "", b"")


def test_integers_are_taken_apart_again() -> None:
    """As decimal digits, which Postgres casts."""
    column = [0, -1, 2**62, 7]
    assert [*map(int, integers(column).split(","))] == column


def test_null_is_empty() -> None:
    """Nothing else is: ids, keys and serial numbers have a character at least."""
    assert optional_texts([None, "a", None]).split(BETWEEN) == ["", "a", ""]


@pytest.mark.parametrize("column", [["a\x1fb"], ["\x1f"], ["a", "b\x1f"]])
def test_a_text_that_would_be_two_is_refused(column: list[str]) -> None:
    """Every value behind it would belong to the row of another command."""
    with pytest.raises(ValueError, match=r"U\+001F"):
        texts(column)


def test_hashes_stand_one_behind_the_other() -> None:
    """Each is found by its number."""
    assert hashes([b"a" * 16, b"b" * 16])[16:32] == b"b" * 16
