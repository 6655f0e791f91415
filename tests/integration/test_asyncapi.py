"""The AsyncAPI document, read by the parser that the tools of AsyncAPI are built on."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.tools import NODE_MODULES, tool
from tests.schema_checks import SCHEMAS
from tests.workbench import REPOSITORY
from worker.tools.asyncapi.files import ASYNCAPI

ERRORS_AND_WARNINGS = (0, 1)


MISTAKES = {
    "no lanes": (ASYNCAPI, "partitions: 6", "partitions: 0"),
    "no such file": (ASYNCAPI, "./conflict.v1.json", "./nosuch.v1.json"),
    "another channel": (
        ASYNCAPI,
        "- $ref: '#/channels/created/messages/created'",
        "- $ref: '#/channels/conflict/messages/conflict'",
    ),
    "no such protection": (ASYNCAPI, "type: X509", "type: X510"),
    "no such type": ("rejected.v1.json", '"type": "object"', '"type": "thing"'),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the parser says of the document, by "right", and of copies with one mistake each.

    One process reads all: to load the parser takes longer than to parse.
    """
    files = {"right": SCHEMAS / ASYNCAPI}
    for name, (file, right, wrong) in MISTAKES.items():
        target = tmp_path_factory.mktemp("mistake") / "schemas"
        shutil.copytree(SCHEMAS, target)
        text = (target / file).read_text(encoding="utf-8")
        assert right in text
        (target / file).write_text(text.replace(right, wrong), encoding="utf-8")
        files[name] = target / ASYNCAPI
    return dict(zip(files, _parse(*files.values()), strict=True))


def _parse(*files: Path) -> list[dict[str, Any]]:
    node = tool("node")
    if not (NODE_MODULES / "@asyncapi" / "parser").is_dir():
        pytest.skip("needs @asyncapi/parser, which .ci/tools installs")
    command = [node, str(REPOSITORY / "tests" / "asyncapi.mjs"), str(NODE_MODULES), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    for answer in answers:
        answer["problems"] = [one for one in answer["problems"] if one["severity"] in ERRORS_AND_WARNINGS]
    return answers


def test_the_document_and_its_schemas_are_valid(answers: dict[str, dict[str, Any]]) -> None:
    """Neither an error nor a warning; every operation is found and every reference resolves."""
    answer = answers["right"]
    assert answer["problems"] == []
    assert answer["parsed"]
    assert len(answer["operations"]) == 6


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(answers: dict[str, dict[str, Any]], mistake: str) -> None:
    """The check above can fail, also on what the document refers to."""
    assert answers[mistake]["problems"]
