"""The makers of the demo's catalogue, as their own systems know them: raw API key, product lines, GTINs."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from worker.domain.gs1 import with_check_digit
from worker.tools.common.catalogue.file import parse_catalogue
from worker.tools.common.catalogue.models import Catalogue

SHARES = {
    "Nordic Cells AB": 36,
    "EuroBat GmbH": 30,
    "Filature du Nord": 14,
    "Velo Cargo BV": 9,
    "Maglia Lumen Srl": 6,
    "Late Payer Ltd": 5,
}
"""How much of the stream comes from whom, in parts."""


@dataclass(frozen=True, slots=True)
class Line:
    """A product that is being made."""

    product_id: str
    model: str
    gtin: str


@dataclass(frozen=True, slots=True)
class Maker:
    """A company whose factory publishes commands."""

    name: str
    plan: str
    api_key: str
    gln: str
    lines: tuple[Line, ...]


def catalogue_text() -> str:
    """The demo's catalogue file, from the installed package."""
    return (files("worker.tools.demo") / "catalogue.yaml").read_text(encoding="utf-8")


def sample_catalogue() -> Catalogue:
    """The same, as values."""
    return parse_catalogue(catalogue_text(), ".yaml")


def makers() -> tuple[Maker, ...]:
    """Who is in the catalogue, with the raw keys that the database never sees."""
    tree = yaml.safe_load(catalogue_text())
    lines = {product["_id"]: _line(number, product) for number, product in enumerate(tree["products"], 1)}
    return tuple(
        Maker(
            name=company["name"],
            plan=_plan(next(plan for plan in tree["plans"] if plan["id"] == company["plan"]), company),
            api_key=company["apiKeys"][0]["key"],
            gln=with_check_digit(f"952000{number:06d}"),
            lines=tuple(lines[one["_id"]] for one in tree["products"] if one["companyId"] == company["_id"]),
        )
        for number, company in enumerate(tree["companies"], 1)
    )


def _line(number: int, product: dict[str, Any]) -> Line:
    return Line(product["_id"], product["model"], with_check_digit(f"0952000{number:06d}"))


def _plan(plan: dict[str, Any], company: dict[str, Any]) -> str:
    """In the few words that explain what happens to this maker."""
    if company["subscription"] not in (None, "active", "trialing"):
        return str(company["subscription"]).replace("_", " ")
    if plan["maxDpps"] is None:
        return "unlimited"
    if plan["maxV1WritesPerDay"] < plan["maxDpps"]:
        return f"{plan['maxV1WritesPerDay']} a day"
    price = plan["overagePriceCents"]
    return f"{plan['maxDpps']:,} slots, " + ("no more" if price is None else f"then {price} ct")
