"""Reference data as a customer has it: companies with prefill, products with defaults, templates of twelve fields."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import asyncpg

from tests.workbench import gtin
from worker.domain.seeding import seed_fields
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.catalogue.models import Catalogue

TEMPLATES = 4
PRODUCTS_A_COMPANY = 4
_CHUNK_COMPANIES = 5_000

# Twelve fields, as far as no more are asked for, of which products, templates and companies fill nine.
_FROM_PRODUCT = ("chemistry", "ratedCapacityAh", "nominalVoltage", "massKilograms", "cycleLife")
_FROM_TEMPLATE = ("hazardClass", "recyclingScheme")
_FROM_COMPANY = ("manufacturerName", "countryOfOrigin")
_EMPTY = ("carbonFootprint", "recycledContentShare", "dismantlingManualUrl")
FIELDS = 12


@dataclass(frozen=True)
class BenchProduct:
    """A product as commands name it: ids, its GTIN, and the key of its company."""

    company_id: str
    api_key: str
    product_id: str
    template_id: str
    gtin: str


@lru_cache(1024)
def product(company: int, number: int = 0) -> BenchProduct:
    """Product `number` of company `company`; both count from 0."""
    return BenchProduct(
        company_id=f"{0xC0 << 64 | company:024x}",
        api_key=f"tp_live_{company:032d}",
        product_id=f"{0xD0 << 64 | company << 8 | number:024x}",
        template_id=_template_id((company + number) % TEMPLATES),
        gtin=gtin(4_000_000_000 + company * PRODUCTS_A_COMPANY + number),
    )


def _template_id(number: int) -> str:
    return f"{0xE0 << 64 | number:024x}"


def fields_json(company: int, number: int) -> str:
    """The fields of passports of a product, as JSON."""
    one = _product(product(company, number))
    texts = (
        _template((company + number) % TEMPLATES)["fields"],
        one["defaultFieldValues"],
        _company(company)["prefill"],
    )
    return seed_fields(*map(json.dumps, texts)).json


async def load_companies(
    connection: "asyncpg.Connection[asyncpg.Record]", companies: int, products: int, fields: int
) -> None:
    """Load so many companies with so many products each, as `catalogue load` would; templates have so many fields.

    Their GTINs are registered, too: that happens once a product, and is not what the runs are about.
    """
    more = tuple(f"testedProperty{number:02d}" for number in range(fields - FIELDS))
    await load_catalogue(connection, _base(more))
    for start in range(0, companies, _CHUNK_COMPANIES):
        numbers = range(start, min(start + _CHUNK_COMPANIES, companies))
        await load_catalogue(connection, _companies(numbers, products, more))
        made = [product(company, one) for company in numbers for one in range(products)]
        rows = [(one.gtin, one.company_id) for one in made]
        await connection.copy_records_to_table("gtin_registration", records=rows)


def _base(more: Sequence[str]) -> Catalogue:
    plan = {"id": "bench", "maxDpps": None, "overagePriceCents": None, "maxV1WritesPerDay": None}
    return Catalogue.model_validate({"plans": [plan], "templates": [_template(one, more) for one in range(TEMPLATES)]})


def _template(number: int, more: Sequence[str] = ()) -> dict[str, object]:
    keys = (*_FROM_PRODUCT, *_FROM_TEMPLATE, *_FROM_COMPANY, *_EMPTY, *more)
    fields = [
        {"key": key, "dataType": "string", "defaultValue": f"{key} by default" if key in _FROM_TEMPLATE else None}
        for key in keys
    ]
    return {"_id": _template_id(number), "category": f"battery-{number}", "version": 1, "fields": fields}


def _companies(numbers: range, products: int, more: Sequence[str]) -> Catalogue:
    return Catalogue.model_validate(
        {
            "companies": [_company(one) for one in numbers],
            "products": [_product(product(one, number), more) for one in numbers for number in range(products)],
        }
    )


def _company(number: int) -> dict[str, object]:
    one = product(number)
    return {
        "_id": one.company_id,
        "name": f"Company {number}",
        "plan": "bench",
        "subscription": "active",
        "prefill": {key: f"{key} of company {number}" for key in _FROM_COMPANY},
        "apiKeys": [{"sha256": sha256(one.api_key.encode()).hexdigest(), "label": "bench", "revokedAt": None}],
    }


def _product(one: BenchProduct, more: Sequence[str] = ()) -> dict[str, object]:
    return {
        "_id": one.product_id,
        "companyId": one.company_id,
        "templateId": one.template_id,
        "name": "48V pack",
        "model": "BP-48V-100",
        "defaultFieldValues": {key: f"{key} 48V" for key in (*_FROM_PRODUCT, *more)},
    }
