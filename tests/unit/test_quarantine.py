"""A partition under suspicion goes free when it has read well, and is read record by record when it has not."""

from aiokafka.structs import TopicPartition

from worker.stream.quarantine import SINGLY, Quarantine

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def _suspicion() -> Quarantine:
    quarantine = Quarantine()
    quarantine.suspect([ONE, OTHER])
    return quarantine


def test_suspects_are_read_in_bulk_until_they_have_read_well() -> None:
    """Nothing read proves nothing."""
    quarantine = _suspicion()
    assert quarantine.left(ONE) == 0
    quarantine.has_read(ONE, 0)
    assert ONE in quarantine
    quarantine.has_read(ONE, 7)
    assert ONE not in quarantine
    assert OTHER in quarantine


def test_the_one_that_spoils_is_read_singly_for_a_while() -> None:
    """So many records; then in bulk with the others."""
    quarantine = _suspicion()
    quarantine.convict(ONE)
    quarantine.has_read(ONE, SINGLY - 1)
    assert quarantine.left(ONE) == 1
    quarantine.has_read(ONE, 1)
    assert ONE not in quarantine


def test_a_rebalance_acquits_all_and_what_was_being_read_puts_nobody_back() -> None:
    """The partition may be somebody else's by the time that a read of it ends."""
    quarantine = _suspicion()
    quarantine.convict(ONE)
    quarantine.acquit_all()
    quarantine.has_read(ONE, 3)
    assert [place in quarantine for place in (ONE, OTHER)] == [False, False]
    assert quarantine.left(ONE) == 0
