"""One form for what a schema can say in several: no references, no annotations, no synonyms."""

from typing import Any

Schema = Any  # JSON: an object of keywords, or a boolean

SCHEMAS = ("items", "additionalProperties", "propertyNames", "not")
AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
EQUAL = ("pattern", "format", "multipleOf")
VALUES = {"type", "enum", "required", *AT_LEAST, *AT_MOST, *EQUAL}
_ANNOTATIONS = {"title", "description", "$comment", "examples", "deprecated", "$defs"}


class CannotJudge(Exception):
    """The schema says something that the gate does not understand."""


def plain(schema: Schema, root: Schema, inside: tuple[str, ...] = ()) -> Schema:  # noqa: C901 - one case a keyword
    """Without annotations, references resolved, `const` as `enum`, `true` as `{}`. Raises `CannotJudge`."""
    if isinstance(schema, bool):
        return {} if schema else False
    if "$ref" in schema:
        return _referred(schema, root, inside)
    same: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "const":
            if "enum" in schema:
                raise CannotJudge("const beside enum")
            same["enum"] = [value]
        elif keyword == "properties":
            same[keyword] = {name: plain(one, root, inside) for name, one in value.items()}
        elif keyword == "anyOf":
            same[keyword] = [plain(one, root, inside) for one in value]
        elif keyword in SCHEMAS:
            same[keyword] = plain(value, root, inside)
        elif keyword in VALUES:
            same[keyword] = value
        elif keyword not in _ANNOTATIONS:
            raise CannotJudge(keyword)
    return same


def _referred(schema: Schema, root: Schema, inside: tuple[str, ...]) -> Schema:
    reference = schema["$ref"]
    target = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    if target is None or not reference.startswith("#/$defs/"):
        raise CannotJudge(f"$ref {reference}")
    if reference in inside:
        raise CannotJudge(f"$ref {reference} within itself")
    if beside := set(schema) - _ANNOTATIONS - {"$ref"}:
        raise CannotJudge(f"$ref beside {', '.join(sorted(beside))}")
    return plain(target, root, (*inside, reference))
