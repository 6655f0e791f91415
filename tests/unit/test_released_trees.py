"""Workers of another version come from a folder or from the history of this repository."""

from pathlib import Path

import pytest

from tests.contract.future import future
from tests.released.trees import UnknownVersion, next_version, tree_of
from tests.workbench import REPOSITORY


def test_a_folder_is_taken_as_it_stands(tmp_path: Path) -> None:
    """Also one that this version made with a further migration."""
    tree = next_version(tmp_path / "next", future(99, "SELECT 1"))
    assert tree_of(str(tree), tmp_path / "unused") == tree
    assert (tree / "worker" / "store" / "migrations" / "0099_future.sql").is_file()
    assert not (tmp_path / "unused").exists()


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="needs the history of the repository")
def test_a_revision_is_put_into_the_folder(tmp_path: Path) -> None:
    """Its worker, without its tests."""
    tree = tree_of("HEAD", tmp_path)
    assert (tree / "worker" / "__main__.py").is_file()
    assert not (tree / "tests").exists()


def test_another_text_is_refused(tmp_path: Path) -> None:
    """With what was expected."""
    with pytest.raises(UnknownVersion, match="expected a folder with `worker/`, or a revision, got v0: "):
        tree_of("v0", tmp_path)
