"""Each fault that tests must see fits the code of today: `python -m tests.mutants` would skip one that does not."""

import pytest

from tests.mutants.fault import Fault
from tests.mutants.faults import FAULTS
from tests.workbench import REPOSITORY


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_code(fault: Fault) -> None:
    """Its text stands once in its file, and its tests exist."""
    assert fault.applied(REPOSITORY) != (REPOSITORY / fault.file).read_text(encoding="utf-8")
    for test in fault.tests:
        path, _, name = test.partition("::")
        assert name.split("[")[0].split("::")[-1] in (REPOSITORY / path).read_text(encoding="utf-8")


def test_names_of_faults_differ() -> None:
    """A person chooses faults by them."""
    names = [fault.name for fault in FAULTS]
    assert len({*names}) == len(names)
