"""The gate of v1: what may change in a published schema without breaking those who wrote their programs by it.

A **command** schema may only loosen: every body that it allowed is allowed for ever. A new field with a type of its own
is no loosening, since bodies may hold unknown fields and some producer may send that name already.

A **result** schema may only gain optional fields. New results then fit the old schema, by which consumers check them,
and results of before fit the new one: they stay on their topics, and a replay repeats them byte for byte. That is why
result schemas do not forbid further fields (with `additionalProperties: false` the first gain would be a breach for
everybody who checks), why no field may become required, and why neither enums nor the kinds of refusals grow in v1.

Titles, descriptions and examples are free. What the gate does not know, it does not let pass: it says "cannot judge".
"""

from collections.abc import Iterator, Mapping

from tests.compatibility.changed import changed
from tests.compatibility.narrowed import narrowed
from tests.compatibility.plain import CannotJudge, Schema, plain

COMMANDS = frozenset({"create.v1.json"})
Documents = Mapping[str, Schema]

_IDENTITY = ("$id", "$schema")


def incompatibilities(released: Documents, current: Documents) -> list[str]:
    """Why the current documents, by file name, are not compatible with the released ones; empty if they are."""
    problems: list[str] = []
    for name, old in released.items():
        new = current.get(name)
        if new is None:
            problems.append(f"{name}: it is gone")
        elif old != new:
            problems.extend(f"{name}{problem}" for problem in _of_document(old, new, name in COMMANDS))
    return problems


def _of_document(old: Schema, new: Schema, is_command: bool) -> Iterator[str]:
    for keyword in _IDENTITY:
        if old.get(keyword) != new.get(keyword):
            yield f": {keyword} changed"
    compare = narrowed if is_command else changed
    try:
        yield from compare(_judged(old), _judged(new), "")
    except CannotJudge as error:
        yield f": cannot judge {error}"


def _judged(document: Schema) -> Schema:
    """All of a document but what names it."""
    return plain({keyword: value for keyword, value in document.items() if keyword not in _IDENTITY}, document)
