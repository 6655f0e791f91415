"""Reads a catalogue file, and checks all of it before any of it is used."""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from worker.auth.public_keys import NotAKey
from worker.tools.common.catalogue import models, syntax
from worker.tools.common.catalogue.models import Catalogue, hash_of_key
from worker.tools.common.catalogue.syntax import ValuePath, ValueProblem
from worker.tools.common.jwk import read_jwk

_API_KEY = re.compile(r"tp_[^\s`]*[^\s`:]")
"""An API key inside a message, without the colon that may end a path."""

_FOUND_BEFORE = frozenset({"invalid_key", "string_unicode"})
"""pydantic's names of errors that `problems_of` finds with a better path."""

MODELS: dict[tuple[str, ...], type[models.Row]] = {
    (): Catalogue,
    ("plans",): models.Plan,
    ("companies",): models.Company,
    ("companies", "apiKeys"): models.ApiKey,
    ("companies", "signingKeys"): models.SigningKey,
    ("templates",): models.Template,
    ("templates", "fields"): models.TemplateField,
    ("products",): models.Product,
}
"""The model of each part of a file, by the names of the lists that lead to it."""


def without_api_keys(text: str) -> str:
    """The text with `tp_…` in place of each API key."""
    return _API_KEY.sub("tp_…", text)


class CatalogueError(Exception):
    """A catalogue that cannot be loaded: all its problems, one line each, with their paths, and without API keys."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = [without_api_keys(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


class UnreadableFile(CatalogueError):
    """The text is no catalogue at all; its only problem says where that becomes clear."""


def read_catalogue(path: Path) -> Catalogue:
    """Read a file. See `read_with_digest`."""
    return read_with_digest(path)[0]


def read_with_digest(path: Path) -> tuple[Catalogue, str]:
    """Read a JSON or YAML file, and its SHA-256. The extension says which; with any other extension, both are tried.

    Raises `UnreadableFile`, which names the file, and `CatalogueError` for its contents.
    """
    try:
        content = path.read_bytes()
        return parse_catalogue(syntax.decode(content), path.suffix), sha256(content).hexdigest()
    except OSError as error:
        raise UnreadableFile([f"cannot read {path}: {error.strerror}"]) from None
    except (syntax.UnreadableText, UnreadableFile) as error:
        raise UnreadableFile([f"{path}: {error}"]) from None


def parse_catalogue(text: str, suffix: str = "") -> Catalogue:
    """Parse a text; `suffix` (`.json`, `.yaml`, `.yml`) says its format.

    Raises `UnreadableFile`, and `CatalogueError` for its contents.
    """
    try:
        tree = syntax.parse(text, suffix)
        problems = list(syntax.problems_of(tree))
    except syntax.UnreadableText as error:
        raise UnreadableFile([str(error)]) from None
    except RecursionError:
        raise UnreadableFile(["Expected values that neither nest too deeply nor contain themselves"]) from None
    catalogue = _validated(tree, problems)
    problems += _key_choices(tree)
    problems += _repetitions(tree)
    if problems or catalogue is None:
        raise CatalogueError(f"{syntax.show(path) or 'file'}: {message}" for path, message in problems)
    return catalogue


def _validated(tree: object, problems: list[ValueProblem]) -> Catalogue | None:
    """The catalogue, or None. Adds errors to `problems`, unless their path has one already."""
    try:
        return Catalogue.model_validate(tree)
    except ValidationError as error:
        known = {path for path, _ in problems}
        details = error.errors(include_url=False, include_input=False)
        problems += [
            (_path(detail), _message(detail))
            for detail in details
            if detail["type"] not in _FOUND_BEFORE
            and (detail["type"] == "extra_forbidden" or detail["loc"] not in known)
        ]
        return None


def _path(detail: ErrorDetails) -> ValuePath:
    """The path of an error; inside a JWK, that of the wrong member."""
    member = detail.get("ctx", {}).get("member") if detail["type"] == "jwk" else None
    return detail["loc"] if member is None else (*detail["loc"], member)


def _message(detail: ErrorDetails) -> str:
    if detail["type"] == "missing":
        return "Required"
    if detail["type"] == "extra_forbidden":
        model = MODELS[tuple(step for step in detail["loc"][:-1] if isinstance(step, str))]
        names = ", ".join(str(field.alias) for field in model.model_fields.values())
        return f"Expected no fields other than {names}"
    if detail["type"] == "model_type" and not detail["loc"]:
        return f"Expected an object with {', '.join(Catalogue.model_fields)}"
    expected = {"model_type": "Expected an object", "tuple_type": "Expected a list"}
    return expected.get(detail["type"], detail["msg"])


def _rows(value: object, name: str) -> Iterator[tuple[int, dict[str, object]]]:
    """The objects in the list `name` of an object, with their positions. Empty if there is no such list."""
    rows = value.get(name) if isinstance(value, dict) else None
    if isinstance(rows, list):
        yield from ((position, row) for position, row in enumerate(rows) if isinstance(row, dict))


def _keys(tree: object, name: str) -> Iterator[tuple[ValuePath, dict[str, object]]]:
    for company, row in _rows(tree, "companies"):
        for at, key in _rows(row, name):
            yield ("companies", company, name, at), key


def _key_choices(tree: object) -> Iterator[ValueProblem]:
    for path, api_key in _keys(tree, "apiKeys"):
        if ("sha256" in api_key) == ("key" in api_key):
            yield path, "Expected exactly one of sha256 and key"


def _repetitions(tree: object) -> Iterator[ValueProblem]:
    """Repeated ids and keys. The search is in the raw file, so that they are reported along with other errors."""
    yield from _repeated((("plans", at, "id"), row.get("id")) for at, row in _rows(tree, "plans"))
    for section in ("companies", "templates", "products"):
        yield from _repeated(((section, at, "_id"), _lower(row.get("_id"))) for at, row in _rows(tree, section))
    for template, row in _rows(tree, "templates"):
        fields = _rows(row, "fields")
        yield from _repeated((("templates", template, "fields", at, "key"), field.get("key")) for at, field in fields)
    yield from _repeated((path, _raw_digest(api_key)) for path, api_key in _keys(tree, "apiKeys"))
    yield from _repeated((path, _raw_key_id(key)) for path, key in _keys(tree, "signingKeys"))


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _raw_digest(api_key: dict[str, object]) -> object:
    key = api_key.get("key")
    return hash_of_key(key).hex() if isinstance(key, str) else _lower(api_key.get("sha256"))


def _raw_key_id(signing_key: dict[str, object]) -> object:
    try:
        return read_jwk(signing_key.get("jwk")).key_id
    except NotAKey:
        return None


def _repeated(values: Iterable[tuple[ValuePath, object]]) -> Iterator[ValueProblem]:
    first: dict[str, ValuePath] = {}
    for path, value in values:
        if isinstance(value, str) and first.setdefault(value, path) is not path:
            yield path, f"Expected a unique value, got that of {syntax.show(first[value])}"


def missing_references(
    catalogue: Catalogue, plans: Iterable[str] = (), companies: Iterable[str] = (), templates: Iterable[str] = ()
) -> Iterator[str]:
    """Yield a line, with the path, for each reference to a row that is in neither the file nor these ids."""
    known_plans = {plan.id for plan in catalogue.plans}.union(plans)
    known_companies = {company.id for company in catalogue.companies}.union(companies)
    known_templates = {template.id for template in catalogue.templates}.union(templates)
    for at, company in enumerate(catalogue.companies):
        if company.plan not in known_plans:
            yield f"companies[{at}].plan: Expected a plan in file or database, got {company.plan}"
    for at, product in enumerate(catalogue.products):
        if product.company_id not in known_companies:
            yield f"products[{at}].companyId: Expected a company in file or database, got {product.company_id}"
        if product.template_id not in known_templates:
            yield f"products[{at}].templateId: Expected a template in file or database, got {product.template_id}"
