"""The companies of the sample catalogue, as their own systems know them: with API key, products and GTINs."""

from dataclasses import dataclass
from importlib.resources import files

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
"""Weight of each company in the stream."""


@dataclass(frozen=True, slots=True)
class Line:
    """A product that is being made."""

    product_id: str
    gtin: str


@dataclass(frozen=True, slots=True)
class Maker:
    """A company whose factory publishes commands."""

    name: str
    api_key: str
    gln: str
    lines: tuple[Line, ...]


def catalogue_text() -> str:
    """The demo's catalogue file, from the installed package."""
    return (files("worker.tools.demo") / "catalogue.yaml").read_text(encoding="utf-8")


def sample_catalogue() -> Catalogue:
    """The demo's catalogue, parsed."""
    return parse_catalogue(catalogue_text(), ".yaml")


def makers() -> tuple[Maker, ...]:
    """The companies of the catalogue, with the raw API keys that the database never sees."""
    tree = yaml.safe_load(catalogue_text())
    lines = {
        product["_id"]: Line(product["_id"], with_check_digit(f"0952000{number:06d}"))
        for number, product in enumerate(tree["products"], 1)
    }
    return tuple(
        Maker(
            name=company["name"],
            api_key=company["apiKeys"][0]["key"],
            gln=with_check_digit(f"952000{number:06d}"),
            lines=tuple(
                lines[product["_id"]] for product in tree["products"] if product["companyId"] == company["_id"]
            ),
        )
        for number, company in enumerate(tree["companies"], 1)
    )
