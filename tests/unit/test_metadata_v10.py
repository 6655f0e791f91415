"""What a broker says of topics: what may be done with them, and which they are."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import LeaderNotAvailableError, UnknownTopicOrPartitionError

from worker.store.port import TopicIdentity
from worker.stream.cluster.metadata_v10 import TopicsRequest, identities_of, operations_by_topic

_READ, _WRITE, _DESCRIBE = 1 << 3, 1 << 4, 1 << 8


def _response(code: int, topic_id: bytes = bytes(16), bits: int = 0) -> SimpleNamespace:
    return SimpleNamespace(cluster_id="cluster-1", topics=[(code, "t", topic_id, False, [], bits, {})])


@pytest.mark.parametrize(
    ("code", "bits", "expected"),
    [
        (0, _READ | _DESCRIBE, {"t": {"Read"}}),
        (0, _WRITE | _DESCRIBE, {"t": {"Write"}}),
        (0, _READ | _WRITE, {"t": {"Read", "Write"}}),
        (0, _DESCRIBE, {"t": set()}),
        (29, 0, {"t": set()}),
        (0, -(2**31), {}),
        (3, 0, {}),
    ],
    ids=["read", "write", "both", "only describe", "not even describe", "a broker that does not know", "no such topic"],
)
def test_operations_are_told_where_they_are_known(code: int, bits: int, expected: dict[str, set[str]]) -> None:
    """A topic of which nothing is known is not judged."""
    assert operations_by_topic(_response(code, bits=bits)) == expected


def test_an_older_broker_is_not_asked() -> None:
    """It does not speak the version that tells; the caller is told so before anything is sent."""
    with pytest.raises(NotImplementedError):
        TopicsRequest(["t"]).prepare({3: (0, 9)})
    assert TopicsRequest(["t"]).prepare({3: (0, 13)}).API_VERSION == 10


def test_a_topic_is_known_by_its_id_and_its_cluster() -> None:
    """As Kafka's tools print them; a broker that gives no ids says nothing."""
    (identity,) = identities_of(_response(0, topic_id=bytes(range(16)))).values()
    assert identity == TopicIdentity("cluster-1", "AAECAwQFBgcICQoLDA0ODw")
    assert [*identities_of(_response(0, topic_id=bytes(16))).values()] == [None]


def test_a_topic_that_is_not_there_is_an_error() -> None:
    """So is one of which the broker knows nothing at the moment; neither is a topic without an id."""
    for code, error in ((3, UnknownTopicOrPartitionError), (5, LeaderNotAvailableError)):
        assert [type(identity) for identity in identities_of(_response(code)).values()] == [error]
