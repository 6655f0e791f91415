"""What `schemas/versions.md` promises of names: options, fields of reports, settings, metrics with labels, alerts.

    tests/released/1.0.0/promises.json   as they stood in the command line, pages and schemas of that version

Later versions may have more of them, and have to keep these.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from cyclopts import App

from tests.workbench import REPOSITORY
from worker.tools.cli.help_pages import DEFAULTS
from worker.tools.cli.main import app, load_verbs

FILE = "promises.json"
Promises = dict[str, dict[str, Any]]
"""By kind. Of a field: its types, its fixed values, and whether it is always there. Of a metric: its labels."""

# The name of a parameter that is a group of options.
_GROUP = "*"
_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)


def promises_of_today() -> Promises:
    """Those of the command line, and of the generated pages and schemas: tests hold that these are the code's."""
    settings = (REPOSITORY / "schemas" / "settings.md").read_text(encoding="utf-8")
    metrics = (REPOSITORY / "deploy" / "monitoring" / "metrics.md").read_text(encoding="utf-8")
    rules = (REPOSITORY / "deploy" / "monitoring" / "rules.yaml").read_text(encoding="utf-8")
    load_verbs()
    return {
        "options": {option: {} for option in sorted(_options(app))},
        "fields": {
            f"{path.stem}{place}": field
            for path in sorted((REPOSITORY / "schemas" / "operations").glob("*.json"))
            for place, field in _fields(json.loads(path.read_text(encoding="utf-8"))).items()
        },
        "settings": {name: {} for name, _ in _ROW.findall(settings)},
        "metrics": {name: {"labels": re.findall(r"`(\w+)`", row.split("|")[1])} for name, row in _ROW.findall(metrics)},
        "alerts": {name: {} for name in re.findall(r"- alert: (\w+)", rules)},
    }


def text_of(promises: Promises) -> str:
    """A line for each of them."""
    kinds = [
        f'"{kind}": {{\n' + ",\n".join(f" {json.dumps(name)}: {json.dumps(one)}" for name, one in named.items()) + "\n}"
        for kind, named in promises.items()
    ]
    return "{" + ",\n".join(kinds) + "}\n"


def broken(released: Promises, current: Promises) -> Iterator[str]:
    """What a program that was written for the released version does not find any more, or does not know."""
    for kind, named in released.items():
        for name, was in named.items():
            now = current[kind].get(name)
            if now is None:
                yield f"{kind} {name}: it is gone"
            elif kind == "metrics" and set(was["labels"]) != set(now["labels"]):
                yield f"{kind} {name}: its labels are {now['labels']}, and were {was['labels']}"
            elif kind == "fields":
                yield from (f"{kind} {name}: {problem}" for problem in _other_field(was, now))


def _other_field(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if came := sorted(set(now["types"]) - set(was["types"])):
        yield f"it may be {' or '.join(came)} now"
    if gone := sorted(set(was["values"]) - set(now["values"])):
        yield f"it is never {' or '.join(gone)} any more"
    if was["always"] and not now["always"]:
        yield "it may be missing now"


def _options(verb: App, *names: str) -> Iterator[str]:
    """The options and arguments of a verb and of the verbs below it, such as `lanes reset --execute`."""
    for name in verb:
        if not name.startswith("-"):  # `--help` and `--version` are commands to cyclopts
            yield from _options(verb[name], *names, name)
    if verb.default_command is not None:
        for argument in verb.assemble_argument_collection(default_parameter=DEFAULTS):
            own = {*argument.names} - {*argument.negatives, _GROUP}
            yield from (" ".join((*names, name)) for name in own)


def _fields(document: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for place, types, values, always in _places(document, document, "", always=True):
        field = fields.setdefault(place, {"types": [], "values": [], "always": True})
        field["types"] = sorted({*field["types"], *types})
        field["values"] = sorted({*field["values"], *values})
        field["always"] = field["always"] and always
    return fields


def _places(schema: Any, root: Any, place: str, *, always: bool) -> Iterator[tuple[str, list[str], list[str], bool]]:
    """Each place of a document with types and fixed values, once for each alternative that has it."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _places(alternative, root, place, always=always)
    if "type" in schema:
        fixed = schema.get("enum", [schema["const"]] if "const" in schema else [])
        yield place, [schema["type"]], [str(value) for value in fixed], always
    for name, inner in schema.get("properties", {}).items():
        yield from _places(inner, root, f"{place}.{name}", always=name in schema.get("required", ()))
    for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(inner := schema.get(keyword), dict):
            yield from _places(inner, root, f"{place}{mark}", always=True)
