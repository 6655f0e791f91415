"""How processes of pytest-xdist share the tests: a file that has servers of its own goes to one process."""

from typing import Any

from xdist.scheduler import LoadScopeScheduling

_ONE_BY_ONE = ("tests/model/", "tests/end_to_end/test_crash_points.py", "tests/operations/test_recover.py")
"""Long files without such servers: their tests go to whichever process is free."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """In the order of the collection. A second process that gets tests of a file would start its servers, too."""

    def __init__(self, config: Any, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(_ONE_BY_ONE) else nodeid.partition("::")[0]
