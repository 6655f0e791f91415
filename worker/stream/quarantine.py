"""Partitions under suspicion: one of them spoils the polls of all, so each is read by itself until it has read well."""

from collections.abc import Iterable

from aiokafka.structs import TopicPartition

SINGLY = 1000
"""So many records are read one by one in search of a bad one before the partition is read in bulk again."""
_IN_BULK = 0


class Quarantine:
    """What is read by itself, and how: in bulk, or record by record once it was found to be the one."""

    def __init__(self) -> None:
        self._left: dict[TopicPartition, int] = {}
        """Records that are still to be read one by one."""

    def __contains__(self, place: TopicPartition) -> bool:
        return place in self._left

    def suspect(self, places: Iterable[TopicPartition]) -> None:
        """One of them spoiled a poll; each is to be read in bulk, by itself."""
        self._left.update(dict.fromkeys(places, _IN_BULK))

    def convict(self, place: TopicPartition) -> None:
        """It is the one: it is to be read record by record, so that those in front of the bad one are not lost."""
        self._left[place] = SINGLY

    def left(self, place: TopicPartition) -> int:
        """How many records are to be read one by one; 0 where it is read in bulk, or a rebalance has acquitted all."""
        return self._left.get(place, _IN_BULK)

    def has_read(self, place: TopicPartition, count: int) -> None:
        """It read well. Nothing read proves nothing: the fetch may wait behind another one to the same broker."""
        if count and place in self._left:
            self._left[place] -= count
            if self._left[place] <= 0:
                del self._left[place]

    def acquit(self, place: TopicPartition) -> None:
        """It is read with the others again."""
        self._left.pop(place, None)

    def acquit_all(self) -> None:
        """They are read by somebody else now, or anew."""
        self._left.clear()
