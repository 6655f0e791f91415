"""What a broker says that may be done with topics, as far as it says it."""

from types import SimpleNamespace

import pytest

from worker.stream.authorized import AuthorizedOperationsRequest, operations_by_topic

_READ, _WRITE, _DESCRIBE = 1 << 3, 1 << 4, 1 << 8


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
    assert operations_by_topic(SimpleNamespace(topics=[(code, "t", False, [], bits)])) == expected


def test_an_older_broker_is_not_asked() -> None:
    """It does not speak the version that tells; the caller is told so before anything is sent."""
    with pytest.raises(NotImplementedError):
        AuthorizedOperationsRequest(["t"]).prepare({3: (0, 7)})
    assert AuthorizedOperationsRequest(["t"]).prepare({3: (0, 13)}).API_VERSION == 8
