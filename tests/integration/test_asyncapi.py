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


def _parse(file: Path) -> dict[str, Any]:
    node = tool("node")
    if not (NODE_MODULES / "@asyncapi" / "parser").is_dir():
        pytest.skip("needs @asyncapi/parser, which .ci/tools installs")
    command = [node, str(REPOSITORY / "tests" / "asyncapi.mjs"), str(NODE_MODULES), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["problems"] = [one for one in answer["problems"] if one["severity"] in ERRORS_AND_WARNINGS]
    return answer


def test_the_document_and_its_schemas_are_valid() -> None:
    """Neither an error nor a warning; every operation is found and every reference resolves."""
    answer = _parse(SCHEMAS / ASYNCAPI)
    assert answer["problems"] == []
    assert answer["parsed"]
    assert len(answer["operations"]) == 6


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        (ASYNCAPI, "partitions: 6", "partitions: 0"),
        (ASYNCAPI, "./conflict.v1.json", "./nosuch.v1.json"),
        (ASYNCAPI, "- $ref: '#/channels/created/messages/created'", "- $ref: '#/channels/conflict/messages/conflict'"),
        (ASYNCAPI, "type: X509", "type: X510"),
        ("rejected.v1.json", '"type": "object"', '"type": "thing"'),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, file: str, right: str, wrong: str) -> None:
    """The check above can fail, also on what the document refers to."""
    target = tmp_path / "schemas"
    shutil.copytree(SCHEMAS, target)
    text = (target / file).read_text(encoding="utf-8")
    assert right in text
    (target / file).write_text(text.replace(right, wrong), encoding="utf-8")
    assert _parse(target / ASYNCAPI)["problems"]
