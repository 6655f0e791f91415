"""What is released can be built again from a clone, byte for byte, and shows on an index page as it should."""

import email
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.deploy.licences import not_allowed
from tests.deploy.release import Backend, copy_of_the_tree, tracked
from worker import __version__

SDIST, WHEEL = f"passport_worker-{__version__}.tar.gz", f"passport_worker-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """The pinned build backend."""
    return Backend.installed(tmp_path_factory.mktemp("backend"))


@pytest.fixture(scope="module")
def released(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The wheel and the sdist, by their names."""
    tree = copy_of_the_tree(tmp_path_factory.mktemp("first"))
    return backend.build(tree, tmp_path_factory.mktemp("dist"))


def test_second_build_elsewhere_gives_the_same_bytes(
    released: dict[str, bytes], backend: Backend, tmp_path: Path
) -> None:
    """Neither the folder nor the times of files show in the wheel or in the sdist."""
    again = backend.build(copy_of_the_tree(tmp_path / "tree"), tmp_path / "dist")
    assert again.keys() == released.keys() == {SDIST, WHEEL}
    assert [name for name in again if again[name] != released[name]] == []


def test_sdist_gives_the_same_wheel(released: dict[str, bytes], backend: Backend, tmp_path: Path) -> None:
    """Somebody who has the sdist alone can check the wheel."""
    with tarfile.open(fileobj=io.BytesIO(released[SDIST])) as archive:
        archive.extractall(tmp_path, filter="data")
    tree = tmp_path / SDIST.removesuffix(".tar.gz")
    assert backend.build(tree, tmp_path / "dist")[WHEEL] == released[WHEEL]


def test_sdist_holds_the_repository(released: dict[str, bytes]) -> None:
    """All of it but what only a clone needs: its tests run from it, and the image can be built."""
    with tarfile.open(fileobj=io.BytesIO(released[SDIST])) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    missing = {name for name in tracked() if name not in held}
    assert missing == {name for name in missing if name.startswith(".git") or name == ".pre-commit-config.yaml"}
    assert held - set(tracked()) == {"PKG-INFO"}


def test_wheel_holds_the_package_without_its_pages(released: dict[str, bytes]) -> None:
    """Each module, SQL file and template."""
    with zipfile.ZipFile(io.BytesIO(released[WHEEL])) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name for name in tracked() if name.startswith("worker/") and not name.endswith(".md")}


def test_index_page_has_no_link_into_the_repository(released: dict[str, bytes]) -> None:
    """Such a link names its file instead, and addresses stay links."""
    with zipfile.ZipFile(io.BytesIO(released[WHEEL])) as archive:
        metadata = email.message_from_bytes(archive.read(f"passport_worker-{__version__}.dist-info/METADATA"))
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    assert "its console (`deploy/console.md`)" in text


@pytest.mark.parametrize(
    ("licences", "refused"),
    [
        ([{"expression": "MPL-2.0 AND (Apache-2.0 OR MIT)"}], []),
        ([{"expression": "MIT OR GPL-3.0-only"}], ["GPL-3.0-only"]),
        ([{"license": {"id": "AGPL-3.0-only"}}, {"license": {"id": "MIT"}}], ["AGPL-3.0-only"]),
        ([{"license": {"name": "License :: Other/Proprietary License"}}], ["License :: Other/Proprietary License"]),
        ([], ["none"]),
    ],
)
def test_licence_that_nobody_has_read_is_refused(licences: list[dict[str, object]], refused: list[str]) -> None:
    """Also one of several that a package leaves to choose."""
    assert not_allowed({"name": "anything", "licenses": licences}) == refused
