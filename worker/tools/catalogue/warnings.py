"""Warnings of values that are loaded as they are, but are probably mistakes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from worker.messages.hints import printable
from worker.tools.common.catalogue.models import (
    DATA_TYPES,
    SUBSCRIPTIONS,
    Catalogue,
    Company,
    Product,
    Template,
    TemplateField,
)
from worker.tools.common.catalogue.rows import time_text
from worker.tools.common.catalogue.syntax import show
from worker.tools.common.hints import did_you_mean

Fields = Mapping[str, TemplateField]
"""Fields of a template, by key."""

_LONGEST = 60


def warnings_of(catalogue: Catalogue, stored: Mapping[str, Fields], closings: Mapping[str, datetime]) -> Iterator[str]:
    """Yield a line for each warning, with its path.

    `stored` has the templates in the database that the products name, and `closings` the times from which companies
    are closed there, by id.
    """
    templates = {**stored, **{row.id: {field.key: field for field in row.fields} for row in catalogue.templates}}
    if not any((catalogue.plans, catalogue.companies, catalogue.templates, catalogue.products)):
        yield "file: has no rows"
    used: dict[str, dict[str, Fields]] = {company.id: {} for company in catalogue.companies}
    for product in catalogue.products:
        if product.company_id in used and product.template_id in templates:
            used[product.company_id][product.template_id] = templates[product.template_id]
    for at, company in enumerate(catalogue.companies):
        path = show(("companies", at))
        if company.subscription is not None and company.subscription not in SUBSCRIPTIONS:
            expected = f"Expected one of {', '.join(SUBSCRIPTIONS)}, or null"
            yield f"{path}.subscription: {expected}, got {_short(company.subscription, SUBSCRIPTIONS)}"
        if (closed_at := closings.get(company.id)) is not None:
            yield from _closed(company, closed_at, path)
        yield from _prefill(company, ("companies", at, "prefill"), list(used[company.id].values()))
    for at, template in enumerate(catalogue.templates):
        yield from _fields(template, ("templates", at, "fields"))
    for at, product in enumerate(catalogue.products):
        if product.template_id in templates:
            yield from _defaults(product, ("products", at, "defaultFieldValues"), templates[product.template_id])


def _closed(company: Company, closed_at: datetime, path: str) -> Iterator[str]:
    since = time_text(closed_at)
    if "closed_at" not in company.model_fields_set:
        yield f"{path}: The company is closed from {since} on, and stays so: its commands get 401, whatever its keys"
    elif company.closed_at is None or company.closed_at > closed_at:
        yield f"{path}.closedAt: The company is closed from {since} on, and this file opens it again"


def _fields(template: Template, path: tuple[str | int, ...]) -> Iterator[str]:
    for number, field in enumerate(template.fields):
        place = show((*path, number))
        if field.data_type not in DATA_TYPES:
            expected = f"Expected one of {', '.join(DATA_TYPES)}"
            yield f"{place}.dataType: {expected}, got {_short(field.data_type, DATA_TYPES)}"
        elif problem := _problem(field, field.default_value):
            yield f"{place}.defaultValue: {problem}"


def _prefill(company: Company, path: tuple[str | int, ...], used: list[Fields]) -> Iterator[str]:
    """`used` are templates of the company's products in the file. Products in the database may use the prefill, too."""
    for key, value in company.prefill.items() if used else ():
        fields = [template[key] for template in used if key in template]
        problem = next((problem for field in fields if (problem := _problem(field, value))), None)
        if not fields:
            names = sorted({name for template in used for name in template})
            problem = f"Expected a field of the company's products in the file{did_you_mean(key, names)}"
        if problem:
            yield f"{_shown(path, key)}: {problem}"


def _defaults(product: Product, path: tuple[str | int, ...], fields: Fields) -> Iterator[str]:
    for key, value in product.default_field_values.items():
        if key not in fields:
            yield f"{_shown(path, key)}: Expected a field of the product's template{did_you_mean(key, fields)}"
        elif problem := _problem(fields[key], value):
            yield f"{_shown(path, key)}: {problem}"


def _problem(field: TemplateField, value: object) -> str | None:
    """The problem with a field's value. null and "" mean no value, and fit every type."""
    is_of_type = DATA_TYPES.get(field.data_type)
    if is_of_type is None or value is None or value == "" or is_of_type(value):
        return None
    got = next(name for name, is_of_this_type in DATA_TYPES.items() if is_of_this_type(value))
    return f"Expected a value of type {field.data_type}, got {got}"


def _shown(path: tuple[str | int, ...], key: str) -> str:
    return printable(show((*path, key))[: _LONGEST * 2])


def _short(value: str, known: Iterable[str]) -> str:
    return printable(f"{json.dumps(value[:_LONGEST], ensure_ascii=False)}{did_you_mean(value, known)}")
