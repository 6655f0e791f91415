"""Joins a column of values into a single argument of a query, which splits it again.

asyncpg takes 0.2 µs for each value of an array. Joining texts takes a fifth of that, joining integers half of it, and
Postgres splits them as fast as it reads an array.
"""

from collections.abc import Iterable, Sequence

# Unit separator: a control character, so no id, key or serial number can hold it.
BETWEEN = "\x1f"

# The null of a column of hashes. No hash is all zeros.
NO_KEY = bytes(16)


def integers(column: Iterable[int]) -> str:
    """Join integers for `string_to_array` with a comma, and a cast."""
    return ",".join(map(str, column))


def texts(column: Sequence[str]) -> str:
    """Join texts for `string_to_array` with U+001F. Raises `ValueError` for a text that holds U+001F."""
    joined = BETWEEN.join(column)
    if joined.count(BETWEEN) >= max(1, len(column)):
        raise ValueError("a value holds U+001F, which separates values")
    return joined


def optional_texts(column: Sequence[str | None]) -> str:
    """Join texts the same way, with an empty text for null. No other value may be empty."""
    return texts([text or "" for text in column])


def ids(column: Sequence[str]) -> bytes:
    """Join ids of 24 hexadecimal digits for `substr(…, 12 * position - 11, 12)`. Raises `ValueError` for others."""
    joined = bytes.fromhex("".join(column))
    if len(joined) != 12 * len(column):
        raise ValueError("an id does not have 24 hexadecimal digits")
    return joined


def hashes(column: Iterable[bytes]) -> bytes:
    """Join hashes of n bytes each for `substr(…, n * position - n + 1, n)`."""
    return b"".join(column)
