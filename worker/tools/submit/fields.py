"""The fields of a command: their paths, and the names that people give to them in English and German."""

import difflib
from collections.abc import Iterator
from itertools import product

from pydantic import BaseModel

from worker.tools.common.command_model import CreatePassportBody

PRODUCT = "productId"
GTIN = "gs1.gtin"
SERIAL = "gs1.serialNumber"
CONFIRM = "confirmOverage"
REQUIRED = (PRODUCT, GTIN, SERIAL)


def _paths_of(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        path, inner = f"{above}{info.alias or name}", info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _paths_of(inner, f"{path}.")
        else:
            yield path


PATHS = tuple(_paths_of(CreatePassportBody))
"""Dotted paths of all fields."""

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_SINGLE_FIELDS = {
    PRODUCT: ("productid", "produktid"),
    GTIN: ("gtin", "gtin13", "gtin14", "gtinnr", "gtinnummer", "ean", "ean13", "ean14", "eancode", "eannummer"),
    SERIAL: ("serial", "serialno", "serialnr", "serialnumber", "seriennr", "seriennummer", "sn"),
    CONFIRM: ("confirmoverage",),
}
_ROLES = {
    "manufacturer": ("manufacturer", "hersteller", "produzent"),
    "importer": ("importer", "importeur"),
    "authorisedRepresentative": ("authorisedrepresentative", "authorizedrepresentative", "bevollmaechtigter"),
    "distributor": ("distributor", "haendler", "vertreiber"),
    "recycler": ("recycler", "verwerter"),
    "producerResponsibilityOrg": (
        "producerresponsibilityorg",
        "producerresponsibilityorganisation",
        "producerresponsibilityorganization",
    ),
}
_PARTY_FIELDS = {
    "legalName": ("", "name", "legalname", "firma"),
    "gln": ("gln", "iln"),
    "country": ("country", "countrycode", "land", "laendercode"),
    "url": ("url", "website", "webseite"),
    "legacyOperatorId": ("legacyoperatorid", "operatorid"),
}
_LIKENESS = 0.8
"""Names that are less alike than this are different words, not a spelling mistake."""


def _known() -> Iterator[tuple[str, str]]:
    for path, names in _SINGLE_FIELDS.items():
        yield from ((name, path) for name in names)
    for (role, role_names), (field, field_names) in product(_ROLES.items(), _PARTY_FIELDS.items()):
        for role_name, field_name in product(role_names, field_names):
            yield role_name + field_name, f"parties.{role}.{field}"
            yield field_name + role_name, f"parties.{role}.{field}"


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold().translate(_UMLAUTS)))


_KNOWN = dict(_known())
_PLAIN_PATHS = {path.lower(): path for path in PATHS}


def meant_field(name: str) -> str | None:
    """The path of the field that a name means, or nearly spells; None if none is likely."""
    if (path := _KNOWN.get(_plain(name))) is not None:
        return path
    near = difflib.get_close_matches(name[:100].lower(), _PLAIN_PATHS, 1, _LIKENESS)
    return _PLAIN_PATHS[near[0]] if near else None


def did_you_mean_field(name: str) -> str:
    """The field that a name means, as the end of a sentence."""
    path = meant_field(name)
    return f"; did you mean {path}?" if path else ""
