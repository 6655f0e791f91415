"""What one could do instead of the protocol, by oversight or to make it simpler, and what brokers may do."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Variant:
    """As it stands: the protocol, with brokers from 3.9.1 on."""

    only_last_owner: bool = False
    """A lane's row remembers who came last, instead of all who may have something open."""
    e_read_early: bool = False
    """E is read before the fences of step 3."""
    nobody_fenced: bool = False
    concurrent_is_fenced: bool = False
    """CONCURRENT_TRANSACTIONS, as the answer to InitProducerId, is taken for a fence."""
    prepare_commit_is_fenced: bool = False
    """So it is where DescribeTransactions says PrepareCommit."""
    end_txn_sent_again: bool = False
    """The client sends EndTxn again when its answer is lost."""
    offsets_sent_again: bool = False
    """The client sends TxnOffsetCommit again when its answer is lost."""
    own_old_id_trusted: bool = False
    """After a doubt, a worker does not fence the producer that it has thrown away itself."""
    list_cut_unchecked: bool = False
    """Step 4 does not look whether the epoch is still ours."""
    own_id_taken_off: bool = False
    """A session that ends in good order takes its id off the lists."""
    unstable_e: bool = False
    """E is read without asking for stable offsets."""
    abort_waited_for: bool = False
    """PrepareAbort does not count as fenced: only an InitProducerId that succeeds does."""
    generations_ignored: bool = False
    """Whoever asks for a lane gets it, of whatever generation he is."""
    old_polls_fed: bool = False
    """What a poll has fetched goes to its lane without a look at whether the lane was opened anew meanwhile."""
    batches_unchecked: bool = False
    """Postgres takes any commands for a lane, not only those that follow on where it stands."""
    lower_bound_believed: bool = False
    """Where Kafka has forgotten E, it is taken from Postgres, which may not know of the last results."""
    nothing_verified: bool = False
    """Brokers with transaction.partition.verification.enable=false: they take what belongs to no open transaction."""
    offsets_settle_late: bool = False
    """Brokers before 3.9.1 (KAFKA-17507): some time after its marker, a transaction ends whatever is pending then."""

    def __str__(self) -> str:
        """What differs from the protocol."""
        return ", ".join(field.name for field in fields(self) if getattr(self, field.name))
