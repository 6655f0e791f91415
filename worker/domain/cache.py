"""An LRU cache with a bound in bytes, for values that are computed from texts."""

from collections import OrderedDict
from collections.abc import Sequence
from sys import getsizeof
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Cache(Generic[Made]):
    """Values by the texts that they were made from. Above `most_bytes`, it drops the least recently used ones."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Sequence[str | bytes], tuple[Made, int]] = OrderedDict()
        self.bytes = 0

    def get(self, texts: tuple[str | bytes, ...]) -> Made | None:
        """The value that was made from these texts; None if it was dropped, or never put."""
        entry = self._kept.get(texts)
        if entry is None:
            return None
        self._kept.move_to_end(texts)
        return entry[0]

    def put(self, texts: tuple[str | bytes, ...], made: Made, size: int) -> None:
        """Keep a value that takes `size` bytes of memory besides its texts."""
        _, dropped = self._kept.pop(texts, (None, 0))
        size += sum(map(getsizeof, texts)) + _ENTRY_BYTES
        self._kept[texts] = made, size
        self.bytes += size - dropped
        while self.bytes > self._most_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.bytes -= dropped


# Roughly what an entry takes besides its texts and its value.
_ENTRY_BYTES = 400
