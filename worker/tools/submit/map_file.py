"""Mapping files, which store how the columns of a recurring export become fields."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from worker.messages.hints import printable
from worker.tools.submit.columns import ANSWER_COLUMNS, Choices
from worker.tools.submit.encodings import UTF8
from worker.tools.submit.fields import PATHS, REQUIRED, meant_field
from worker.tools.submit.table import BadFile

_MOST_BYTES = 1024 * 1024


class Mapping(BaseModel):
    """A mapping file. Its keys are the names of the options that it replaces."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    encoding: str = UTF8
    pad_gtin: bool = Field(default=False, alias="pad-gtin")
    map: dict[str, str] = {}
    set: dict[str, str] = {}
    ignore: list[str] = []


def read_mapping(path: Path) -> Mapping:
    """Read a mapping file. Raises `BadFile`."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8-sig")
        # All scalars are texts, since YAML would take GTINs for numbers and NO for false.
        document: Any = yaml.load(text, yaml.BaseLoader)
    except OSError as error:
        raise BadFile(f"--map-file: cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadFile(f"--map-file: {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise BadFile(f"--map-file: expected map, set, ignore, pad-gtin or encoding in {path}")
    try:
        return Mapping.model_validate({name: value for name, value in document.items() if value != ""})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {_message(problem)}" for problem in error.errors())
        raise BadFile("\n  ".join((f"--map-file: {path} cannot be used:", *problems))) from error


def _message(problem: ErrorDetails) -> str:
    """Say what was expected, in the words of a mapping file."""
    expected = {
        "extra_forbidden": "one of map, set, ignore, pad-gtin and encoding",
        "dict_type": "one line for each, as in `EAN: gs1.gtin`",
        "list_type": "a list, one line for each, as in `- Remark`",
        "string_type": "text",
        "bool_parsing": "true or false",
    }
    fitting = expected.get(problem["type"])
    return problem["msg"] if fitting is None else f"expected {fitting}"


def suggested(header: Sequence[str], choices: Choices) -> tuple[Mapping, dict[str, str]]:
    """The mapping of a header line under these options, and the columns whose fields were guessed from their names."""
    columns = dict(choices.renamed)
    fixed = dict(choices.fixed)
    filled = {*columns.values(), *fixed, *(name for name in header if name in PATHS)}
    guessed: dict[str, str] = {}
    ignored: list[str] = []
    for name in header:
        if not name or name in columns or name in PATHS or name in ANSWER_COLUMNS or name in ignored:
            continue
        path = None if name in choices.ignored else meant_field(name)
        if path is None or path in filled:
            ignored.append(name)
        else:
            guessed[name] = path
            filled.add(path)
    mapping = Mapping(
        encoding=choices.encoding,
        pad_gtin=choices.pad_gtin,
        map={**columns, **guessed},
        set=fixed,
        ignore=ignored,
    )
    return mapping, guessed


def missing_fields(header: Sequence[str], mapping: Mapping) -> list[str]:
    """Required fields that nothing fills."""
    filled = {*header, *mapping.map.values(), *mapping.set}
    return [path for path in REQUIRED if path not in filled]


def write_mapping(path: Path, mapping: Mapping, guessed: Sequence[str], missing: Sequence[str]) -> None:
    """Write a mapping file with comments for its reader. Raises `BadFile`, also if the file exists."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in _lines(mapping, guessed, missing))
    except FileExistsError as error:
        raise BadFile(f"--write-map: {path} already exists. Choose another name, or delete it first.") from error
    except OSError as error:
        raise BadFile(f"--write-map: cannot write {path}: {error.strerror}") from error


def _lines(mapping: Mapping, guessed: Sequence[str], missing: Sequence[str]) -> Iterator[str]:
    yield "# Tells `passport-worker submit FILE --map-file THIS` which column fills which field."
    yield "# Columns that have the name of their field need no line."
    yield _yaml({"encoding": mapping.encoding})
    yield "# true restores the leading zeros that a spreadsheet removed from GTINs"
    yield _yaml({"pad-gtin": mapping.pad_gtin})
    if mapping.map:
        yield "# COLUMN: PATH"
        if guessed:
            yield f"# guessed from their names, so check them: {printable(', '.join(guessed))}"
        yield _yaml({"map": mapping.map})
    if mapping.set or missing:
        yield "# fields that have the same value in each row"
        for path in missing:
            yield f"# no column fills {path}: name its column under `map`, or its value here"
        yield _yaml({"set": mapping.set}) if mapping.set else "set:"
    if mapping.ignore:
        yield "# columns that are not sent"
        yield _yaml({"ignore": mapping.ignore})


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=1_000_000).rstrip()
