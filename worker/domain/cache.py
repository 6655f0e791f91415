"""A bound on what is remembered of what was read."""

from collections import OrderedDict
from collections.abc import Sequence
from sys import getsizeof
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Cache(Generic[Made]):
    """What was made of texts; what was used least lately goes where all together is larger than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Sequence[str | bytes], tuple[Made, int]] = OrderedDict()
        self.bytes = 0

    def get(self, texts: tuple[str | bytes, ...]) -> Made | None:
        """What was made of these texts, if it is still there."""
        found = self._kept.get(texts)
        if found is None:
            return None
        self._kept.move_to_end(texts)
        return found[0]

    def put(self, texts: tuple[str | bytes, ...], made: Made, size: int) -> None:
        """Keep what was made of texts; `size` is how many bytes of memory it takes by itself."""
        _, gone = self._kept.pop(texts, (None, 0))
        size += sum(map(getsizeof, texts)) + _ENTRY_BYTES
        self._kept[texts] = made, size
        self.bytes += size - gone
        while self.bytes > self._most_bytes:
            _, (_, gone) = self._kept.popitem(last=False)
            self.bytes -= gone


_ENTRY_BYTES = 400
"""About what an entry takes besides its texts and what was made of them."""
