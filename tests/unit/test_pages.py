"""Pages lead somewhere: links, anchors, files that are named, and what comments in the code cite."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.workbench import REPOSITORY
from worker.messages.rules import REFUSALS
from worker.tools.cli.main import app

DESIGN = (REPOSITORY / "worker" / "DESIGN.md").read_text(encoding="utf-8")
DETAILS = "".join(page.read_text(encoding="utf-8") for page in (REPOSITORY / "worker" / "design").glob("*.md"))
PAGES = sorted(REPOSITORY.glob("*.md")) + sorted(
    page for room in ("deploy", "schemas", "tests", "worker") for page in (REPOSITORY / room).rglob("*.md")
)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_CITED = re.compile(r"\bguards? (B\d+)|\(DESIGN: ([A-Z][^)]+)\)|\binvariants? (I\d)\b")


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Within the repository; others are not asked."""
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(found), f"{page.name}: {target}#{anchor}"


def test_the_front_door_is_short() -> None:
    """Nine kilobytes; the first lines say what it is."""
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(page.encode()) <= 9 * 1024
    assert "Digital Product Passports" in page.splitlines()[2]


@pytest.mark.parametrize("folder", ["deploy", "schemas"])
def test_pages_are_short_and_the_index_leads_to_all_of_them(folder: str) -> None:
    """Twelve kilobytes a page; `README.md` links to each page of its folder, and the runbook's to its own."""
    pages = [page for page in PAGES if page.is_relative_to(REPOSITORY / folder)]
    assert {page.name: size for page in pages if (size := len(page.read_bytes())) > 12 * 1024} == {}
    index = REPOSITORY / folder / "README.md"
    linked = {(index.parent / target).resolve() for target, _ in _LINK.findall(index.read_text(encoding="utf-8"))}
    assert {page for page in pages if page.parent == index.parent} - {index} <= linked
    assert {page for page in pages if page.name == "README.md"} - {index} <= linked


def test_the_table_of_outcomes_says_what_the_worker_says() -> None:
    """Topic, status and sentence of every refusal; a sentence may be cut short."""
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| .* \| (.*) \| ([\d, ]+) \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 13
    told = {
        (status, label, sentence.removesuffix("…"))
        for topics, statuses, errors in rows
        for status in statuses.split(", ")
        for label in re.split(r", (?:or |and )?", topics)
        for sentence in re.findall(r"`([^`]+)`", errors)
    }
    for refusal in REFUSALS.values():
        found = [one for one in told if one[:2] == (str(refusal.status), refusal.kind.label)]
        assert any(refusal.error.startswith(sentence.strip()) for _, _, sentence in found), refusal


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in ("CHANGELOG.md", "DESIGN.md")],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_commands_name_what_exists(page: Path) -> None:
    """Modules, verbs of the command line, tests and scripts. On Debian nothing is called `python`."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert not re.search(r"^ *python ", "\n".join(blocks), re.MULTILINE)
    code = "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])
    for module in re.findall(r"python -m ([\w.]+)", code):
        assert module == "venv" or find_spec(module) is not None, module
    for path in re.findall(r"(?<![\w/.])((?:tests|worker|deploy|schemas|\.ci)/[\w./*-]+\w)", code):
        assert any(REPOSITORY.glob(path)), path
    verbs = {name for name in app if not name.startswith("-")}
    for verb in re.findall(r"(?:^|bin/)passport-worker ([a-z][a-z-]*)", code, re.MULTILINE):
        assert verb in verbs, verb


def test_nobody_is_told_to_install_the_worker_from_an_index() -> None:
    """It is on none, so there the name may be a stranger's: `pip install .` in a checkout, or a wheel of a release."""
    listed = ["git", "grep", "-lE", r"pip install [^`]*passport-worker(\[|'|$)", "--", "*.md", "*.py", "*.yaml"]
    done = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


def test_every_citation_in_the_code_stands_in_the_design() -> None:
    """Guards by their number, sections by their heading, invariants by theirs."""
    known = set(re.findall(r"^\| ([BI]\d+) \|", DESIGN + DETAILS, re.MULTILINE)) | set(
        re.findall(r"^#+ (.+)$", DESIGN, re.MULTILINE)
    )
    listed = subprocess.run(
        ["git", "ls-files", "worker/*.py", "worker/*.sql", "tests/*.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    cited = {
        name: path
        for path in listed
        for match in _CITED.finditer((REPOSITORY / path).read_text(encoding="utf-8"))
        for name in match.groups()
        if name
    }
    assert len(cited) > 15
    assert {name: path for name, path in cited.items() if name not in known} == {}


def test_every_module_that_the_design_names_exists() -> None:
    """In the file map each room, and each file in code marks."""
    for path in re.findall(r"`((?:auth|store|stream|batch|domain|messages|tests)/[\w/]+\.py)`", DESIGN + DETAILS):
        assert any((REPOSITORY / top / path).exists() for top in ("worker", "")), path
    table = DESIGN.partition("## Where things are")[2].partition("\n## ")[0]
    rooms = re.findall(r"^\| ((?:`[\w/]+`(?:, )?)+) \|", table, re.MULTILINE)
    for room in re.findall(r"`([\w/]+?)/?`", " ".join(rooms)):
        assert (REPOSITORY / "worker" / room).is_dir() or (REPOSITORY / "worker" / f"{room}.py").is_file(), room
